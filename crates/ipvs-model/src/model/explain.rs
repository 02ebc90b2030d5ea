use super::{Model, Tracked};
use crate::compile::compile;
use crate::endpoints::Endpoints;
use crate::explain::{Because, Explanation, Reason, Subject, Trace};
use crate::input::{EndpointSlice, Service};
use crate::key::Key;

impl Model {
    /// Why an object exists, as of the last plan. O(services): nothing is kept for the answer.
    ///
    /// ```
    /// use ipvs_model::input::Manifest;
    /// use ipvs_model::{Config, Known, Model};
    ///
    /// let manifest: Manifest = serde_json::from_str(r#"{
    ///     "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    ///     "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}
    /// }"#).unwrap();
    /// let mut model = Model::new(Config::default());
    /// for change in manifest.into_changes().unwrap() {
    ///     model.change(change);
    /// }
    /// model.plan_everything(&Known::default());
    /// let explanation = model.explain("10.96.0.10".parse().unwrap());
    /// assert_eq!(explanation.reasons[0].service.to_string(), "default/web");
    /// ```
    #[must_use]
    pub fn explain(&self, subject: Subject) -> Explanation {
        let key = subject.key();
        let mut explanation = Explanation {
            subject,
            reasons: Vec::new(),
            endpoints: Vec::new(),
        };
        for tracked in self
            .services
            .values()
            .filter(|tracked| tracked.contributes(&key))
        {
            if let Some(service) = &tracked.service {
                self.explain_by(service, &tracked.slices, &key, &mut explanation);
            }
        }
        explanation
            .reasons
            .sort_by(|a, b| (!a.wins, &a.service).cmp(&(!b.wins, &b.service)));
        explanation
    }

    fn explain_by(
        &self,
        service: &Service,
        slices: &[EndpointSlice],
        key: &Key,
        into: &mut Explanation,
    ) {
        let facts = self.facts();
        let mut traces = Vec::new();
        compile(service, slices.iter(), &facts, Some(&mut traces));
        traces.retain(|trace| trace.key == *key);
        traces.dedup();
        for Trace { port, because, .. } in traces {
            let Some(port) = service.ports.get(port) else {
                continue;
            };
            let wins = match key {
                Key::VirtualServer(key) => self.desired.owner(key) == Some(&service.name),
                _ => true,
            };
            into.reasons.push(Reason {
                service: service.name.clone(),
                port: port.to_string(),
                because,
                field: because.field(),
                wins,
            });
            if let (Key::VirtualServer(server), true) = (key, wins) {
                let endpoints = Endpoints::of(port, server.family(), slices.iter(), &facts);
                let only_local = match because {
                    Because::ClusterIp => service.internal_local,
                    _ => service.external_local,
                };
                into.endpoints = endpoints.candidates(service, port, only_local, slices);
                if let Subject::RealServer(_, addr) = into.subject {
                    into.endpoints.retain(|candidate| candidate.address == addr);
                }
            }
        }
    }
}

impl Tracked {
    fn contributes(&self, key: &Key) -> bool {
        let Some((_, contribution)) = &self.contribution else {
            return false;
        };
        match key {
            Key::Rules(_) => false,
            Key::Member(member) => contribution.members.contains(member),
            Key::Vip(address) => {
                let mut vips = contribution.vips.iter();
                vips.any(|vip| vip.address() == *address)
            }
            Key::VirtualServer(key) => {
                let mut servers = contribution.virtual_servers.iter();
                servers.any(|server| server.service.key == *key)
            }
        }
    }
}
