//! The programs stand beside this file; nothing is shared between them.
