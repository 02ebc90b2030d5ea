//! Which requests are made: paths and queries of lists and watches.

use std::time::Duration;

use ipvs_model::input::ObjectKind;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::api::Call;

/// Objects that are listed at once. With twice as many, as is usual, the text of a page and what is read of it make the
/// allocator ask for memory, and give it back, page after page.
const PAGE: u32 = 250;

const NOT_OURS: &str = "!service.kubernetes.io/service-proxy-name";
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";

/// Which Nodes are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// The one of this name: this node's.
    Only(String),
    /// All: for weights by node, and where the addresses of other nodes are protected.
    All,
}

/// The objects of a kind that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) kind: ObjectKind,
    labels: Option<&'static str>,
    fields: Option<String>,
    /// What servers that are too old to select by it do not know: 400.
    is_optional: bool,
}

/// Which state of the cluster a list is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Age {
    /// The newest, in pages: nothing is known yet, and one from a cache could be older than what a proxier before this one
    /// made of the kernel. Servers since 1.31 answer it from their cache, after they asked how new that is.
    Newest,
    /// The newest, in one piece: pages expired while they were read.
    NewestAtOnce,
    /// Not older than the version that is known, from the cache of the server and in one piece, as there: after a restart of
    /// the API all nodes of a cluster list at the same time, and its database is spared.
    NotOlderThan(String),
}

impl Selection {
    pub(super) fn services() -> Self {
        Self {
            kind: ObjectKind::Service,
            labels: Some(NOT_OURS),
            fields: Some("spec.clusterIP!=None".to_owned()),
            is_optional: true,
        }
    }

    pub(super) fn slices() -> Self {
        Self {
            kind: ObjectKind::EndpointSlice,
            labels: Some(NOT_HEADLESS),
            fields: None,
            is_optional: false,
        }
    }

    pub(super) fn nodes(nodes: Nodes) -> Self {
        Self {
            kind: ObjectKind::Node,
            labels: None,
            fields: match nodes {
                Nodes::Only(name) => Some(format!("metadata.name={name}")),
                Nodes::All => None,
            },
            is_optional: false,
        }
    }

    /// What an old server selects: more than needed.
    pub(super) fn more(&self) -> Option<Self> {
        self.is_optional.then(|| Self {
            fields: None,
            is_optional: false,
            ..self.clone()
        })
    }

    /// A page of a list; `next` is what the one before said.
    pub(super) fn list(&self, age: &Age, next: Option<&str>) -> Call {
        let mut path = self.path();
        match (age, next) {
            (Age::NewestAtOnce, _) => {}
            (Age::Newest, None) => add(&mut path, "limit", &PAGE.to_string()),
            (Age::NotOlderThan(version), None) => {
                add(&mut path, "resourceVersion", version);
                add(&mut path, "resourceVersionMatch", "NotOlderThan");
            }
            (_, Some(next)) => {
                add(&mut path, "limit", &PAGE.to_string());
                add(&mut path, "continue", next);
            }
        }
        Call { path, body: None }
    }

    /// A watch from a version, which the server ends after a time.
    pub(super) fn watch(&self, version: &str, time: Duration) -> Call {
        let mut path = self.path();
        add(&mut path, "watch", "true");
        add(&mut path, "allowWatchBookmarks", "true");
        add(&mut path, "resourceVersion", version);
        add(&mut path, "timeoutSeconds", &time.as_secs().to_string());
        Call { path, body: None }
    }

    fn path(&self) -> String {
        let path = match self.kind {
            ObjectKind::Service => "/api/v1/services?",
            ObjectKind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices?",
            ObjectKind::Node => "/api/v1/nodes?",
        };
        let mut path = path.to_owned();
        if let Some(labels) = self.labels {
            add(&mut path, "labelSelector", labels);
        }
        if let Some(fields) = &self.fields {
            add(&mut path, "fieldSelector", fields);
        }
        path
    }
}

fn add(path: &mut String, name: &str, value: &str) {
    if !path.ends_with('?') {
        path.push('&');
    }
    path.push_str(name);
    path.push('=');
    const PLAIN: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    path.extend(utf8_percent_encode(value, PLAIN));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_list_comes_in_pages_and_later_ones_from_the_cache() {
        let services = Selection::services();
        let selected = "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&fieldSelector=spec.clusterIP%21%3DNone";
        let path = |age, next| services.list(&age, next).path;
        assert_eq!(path(Age::Newest, None), format!("{selected}&limit=250"));
        assert_eq!(
            path(Age::Newest, Some("a=&b")),
            format!("{selected}&limit=250&continue=a%3D%26b")
        );
        assert_eq!(path(Age::NewestAtOnce, None), selected);
        assert_eq!(
            path(Age::NotOlderThan("7".into()), None),
            format!("{selected}&resourceVersion=7&resourceVersionMatch=NotOlderThan")
        );
        let more = services.more().unwrap();
        assert!(!more.list(&Age::Newest, None).path.contains("fieldSelector"));
        assert_eq!(more.more(), None);
    }

    #[test]
    fn a_watch_says_when_it_is_to_end() {
        let nodes = Selection::nodes(Nodes::Only("n 1".to_owned()));
        let call = nodes.watch("7", Duration::from_secs(301));
        assert_eq!(
            call.path,
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn%201&watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=301"
        );
        let all = Selection::nodes(Nodes::All).watch("7", Duration::from_secs(1));
        assert!(all.path.starts_with("/api/v1/nodes?watch=true"));
    }
}
