//! What lab tests and the demo are made of: network namespaces and pods that answer.
