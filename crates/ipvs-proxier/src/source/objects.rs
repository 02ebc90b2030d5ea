//! Objects as the Kubernetes API sends them, and which of them there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::SystemTime;

use ipvs_codec::Family;
use ipvs_model::InputError;
use ipvs_model::input::{Change, EndpointSlice, Manifest, ObjectKind, ObjectName, Service};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Deserializer};

use super::polled::Trigger;

use super::reporter::{Reporter, Said};

/// Objects of a list that wake together.
const TOGETHER: usize = 256;
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A kind of objects that is watched.
pub(super) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + Send + 'static
{
    const NAME: &'static str;
    const KIND: ObjectKind;
    fn gone(name: ObjectName) -> Change;
}

impl Watched for core::Service {
    const NAME: &'static str = "Service";
    const KIND: ObjectKind = ObjectKind::Service;
    fn gone(name: ObjectName) -> Change {
        Change::ServiceGone(name)
    }
}

impl Watched for discovery::EndpointSlice {
    const NAME: &'static str = "EndpointSlice";
    const KIND: ObjectKind = ObjectKind::EndpointSlice;
    fn gone(name: ObjectName) -> Change {
        Change::EndpointSliceGone(name)
    }
}

impl Watched for core::Node {
    const NAME: &'static str = "Node";
    const KIND: ObjectKind = ObjectKind::Node;
    fn gone(name: ObjectName) -> Change {
        Change::NodeGone(name.name.as_ref().to_owned())
    }
}

/// An object, of which only what concerns a node is read: `managedFields` are often more than the rest together.
#[derive(Debug, Clone)]
pub(super) struct Object<K> {
    /// What a watch goes by.
    meta: ObjectMeta,
    change: Result<Change, InputError>,
    /// When the endpoints that it tells of changed.
    trigger: Option<Trigger>,
    kind: PhantomData<K>,
}

impl<'de, K: Watched> Deserialize<'de> for Object<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let manifest = Manifest::deserialize(deserializer)?;
        let metadata = manifest.metadata();
        let meta = ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            resource_version: metadata.resource_version.clone(),
            ..ObjectMeta::default()
        };
        Ok(Self {
            meta,
            trigger: trigger(&manifest),
            change: manifest.into_change(K::KIND),
            kind: PhantomData,
        })
    }
}

fn trigger(manifest: &Manifest) -> Option<Trigger> {
    let time = manifest
        .metadata()
        .annotations
        .as_ref()?
        .get(TRIGGER_TIME)?;
    Some(Trigger {
        family: match manifest.address_type()? {
            "IPv6" => Family::Ipv6,
            _ => Family::Ipv4,
        },
        at: humantime::parse_rfc3339(time).ok()?,
    })
}

/// As that of the type that Kubernetes has for the kind.
impl<K: Watched> Resource for Object<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(_: &()) -> std::borrow::Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &()) -> std::borrow::Cow<'_, str> {
        K::group(&())
    }

    fn version(_: &()) -> std::borrow::Cow<'_, str> {
        K::version(&())
    }

    fn plural(_: &()) -> std::borrow::Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// The names of the objects of a kind that are there, and when what they tell of happened.
#[derive(Debug, Default)]
pub(super) struct Objects {
    present: BTreeMap<ObjectName, Option<SystemTime>>,
    /// Those of the list that is coming in.
    listed: BTreeSet<ObjectName>,
}

impl Objects {
    pub(super) fn take<K: Watched>(&mut self, event: Event<Object<K>>, reporter: &Reporter) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                let (name, said) = self.put(object);
                self.listed.insert(name);
                // A list can have thousands of objects: some of them wake together, so that no more have to wait.
                if self.listed.len().is_multiple_of(TOGETHER) {
                    reporter.say(said);
                } else {
                    reporter.mention(said);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.present.retain(|name, _| {
                    let stays = listed.contains(name);
                    if !stays {
                        reporter.mention(Said::Change(Box::new(K::gone(name.clone())), None));
                    }
                    stays
                });
                reporter.say(Said::Listed(K::NAME));
            }
            Event::Apply(object) => {
                let (_, said) = self.put(object);
                reporter.say(said);
            }
            Event::Delete(object) => {
                let name = name_of(&object);
                self.present.remove(&name);
                reporter.say(Said::Change(Box::new(K::gone(name)), None));
            }
        }
    }

    /// An object that cannot be used changes nothing: what it was before stays in force. A trigger counts once, however
    /// often its object comes.
    fn put<K: Watched>(&mut self, object: Object<K>) -> (ObjectName, Said) {
        let name = match &object.change {
            // Its own name, which it shares.
            Ok(
                Change::Service(Service { name, .. })
                | Change::EndpointSlice(EndpointSlice { name, .. }),
            ) => name.clone(),
            _ => name_of(&object),
        };
        let at = object.trigger.map(|trigger| trigger.at);
        let before = self.present.insert(name.clone(), at).flatten();
        let said = match object.change {
            Ok(change) => Said::Change(Box::new(change), object.trigger.filter(|_| before != at)),
            Err(error) => Said::Problem(format!("{} {name}: {error}", K::NAME)),
        };
        (name, said)
    }
}

fn name_of<K: Watched>(object: &Object<K>) -> ObjectName {
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    ObjectName::new(&namespace, &object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(json: &str) -> Object<discovery::EndpointSlice> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_item_of_a_list_says_no_kind_and_may_have_null_for_a_list() {
        let object = slice(
            r#"{"metadata": {"name": "web-1", "namespace": "shop", "resourceVersion": "7", "uid": "x",
                  "managedFields": [{"manager": "m", "fieldsV1": {"f:ports": {}}}],
                  "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": null, "endpoints": [
                  {"addresses": null}, {"addresses": ["10.244.1.2"], "hints": {"forZones": null},
                   "targetRef": {"kind": "Pod"}}]}"#,
        );
        assert_eq!(object.resource_version().as_deref(), Some("7"));
        assert_eq!(name_of(&object), ObjectName::new("shop", "web-1"));
        let Ok(Change::EndpointSlice(slice)) = object.change else {
            unreachable!("{object:?}")
        };
        assert_eq!(slice.endpoints.len(), 1);
    }

    #[test]
    fn a_value_that_is_impossible_is_a_problem_of_its_object_alone() {
        let object = slice(r#"{"metadata": {"name": "web-1"}, "addressType": "IPX"}"#);
        let error = object.change.unwrap_err();
        assert_eq!(error.field, "addressType");
    }

    #[test]
    fn a_trigger_has_the_family_of_its_slice() {
        let object = slice(&format!(
            r#"{{"metadata": {{"name": "web-1", "annotations": {{"{TRIGGER_TIME}": "1970-01-01T00:00:09Z"}}}},
                "addressType": "IPv6", "endpoints": []}}"#
        ));
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(9);
        let trigger = object.trigger.map(|trigger| (trigger.family, trigger.at));
        assert_eq!(trigger, Some((Family::Ipv6, at)));
    }
}
