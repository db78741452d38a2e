//! Manifests, joined; and words for what became of them.

use std::fs;

use mesh_control::source::{self, Load};
use mesh_control::world::{self, Inputs, Joined, Problem, Reason, RouteStatus, Severity};
use mesh_model::{BackendTarget, HttpRule, RouteGroup, RouteRules, TrustDomain, WeightedBackend};

/// The Services of every test: their ports by name, number and protocol.
const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  clusterIP: 10.96.0.1
  ports: [ { name: http, port: 80, appProtocol: http }, { name: alt, port: 8080 }, { name: db, port: 5432, appProtocol: postgres } ]
---
apiVersion: v1
kind: Service
metadata: { name: v1, namespace: shop }
spec: { clusterIP: 10.96.0.2, ports: [ { port: 80 } ] }
---
apiVersion: v1
kind: Service
metadata: { name: v2, namespace: shop }
spec: { clusterIP: 10.96.0.3, ports: [ { port: 80 } ] }
---
apiVersion: v1
kind: Service
metadata: { name: calls, namespace: shop }
spec:
  clusterIP: 10.96.0.4
  ports: [ { name: any, port: 7070 }, { name: tls, port: 443, appProtocol: https }, { name: plain, port: 80, appProtocol: http } ]
---
apiVersion: v1
kind: Service
metadata: { name: headless, namespace: shop }
spec: { clusterIP: None, ports: [ { port: 80 } ] }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: far }
spec: { clusterIP: 10.96.0.5, ports: [ { port: 80 } ] }
";

/// A route with one parent and one rule, in the namespace of its name. What is not said is `web`'s, all ports.
pub(crate) struct Given {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) created: Option<u32>,
    pub(crate) parent: &'static str,
    pub(crate) rules: &'static str,
}

/// What becomes of manifests beside [`SERVICES`].
pub(crate) struct Mesh {
    pub(crate) joined: Joined,
}

/// Reads manifests, whatever they are.
pub(crate) fn load(manifests: &str) -> Load {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("services.yaml"), SERVICES).unwrap();
    fs::write(folder.path().join("x.yaml"), manifests).unwrap();
    source::read(folder.path())
}

/// Reads manifests, of which none has an error by itself.
pub(crate) fn read(manifests: &str) -> Inputs {
    let load = load(manifests);
    let errors: Vec<&Problem> = load
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    load.inputs
}

pub(crate) fn join(inputs: &Inputs) -> Joined {
    world::join(inputs, &TrustDomain::new("test.local").unwrap())
}

pub(crate) fn mesh(manifests: &str) -> Mesh {
    let joined = join(&read(manifests));
    assert!(joined.is_usable(), "{:?}", joined.problems);
    Mesh { joined }
}

/// A mesh with these routes.
pub(crate) fn routes(given: &[Given]) -> Mesh {
    mesh(&given.iter().map(Given::manifest).collect::<String>())
}

/// An HTTPRoute for `web`, with these rules.
pub(crate) fn http(rules: &str) -> Mesh {
    mesh(&Given::default().manifest_with("", rules))
}

// === impl Given ===

impl Default for Given {
    fn default() -> Self {
        Self {
            kind: "HTTPRoute",
            name: "shop/r",
            created: None,
            parent: "{ group: '', kind: Service, name: web, namespace: shop }",
            rules: "{ backendRefs: [ { name: v1, namespace: shop, port: 80 } ] }",
        }
    }
}

impl Given {
    pub(crate) fn manifest(&self) -> String {
        self.manifest_with("", self.rules)
    }

    pub(crate) fn manifest_with(&self, spec: &str, rules: &str) -> String {
        let (namespace, name) = self.name.split_once('/').unwrap();
        let created = self
            .created
            .map(|day| format!(", creationTimestamp: '2026-01-{day:02}T00:00:00Z'"))
            .unwrap_or_default();
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {}\n\
             metadata: {{ name: {name}, namespace: {namespace}, generation: 4 {created} }}\n\
             spec: {{ parentRefs: [ {} ], {spec} rules: [ {rules} ] }}\n",
            self.kind, self.parent
        )
    }
}

// === impl Mesh ===

impl Mesh {
    /// The groups of a Service's routes, as `port[<consumer] kind: rules by name`.
    pub(crate) fn groups(&self, service: &str) -> Vec<String> {
        let routes = self.joined.resources.routes.get(&service.parse().unwrap());
        routes
            .map(|routes| routes.groups.iter().map(show).collect())
            .unwrap_or_default()
    }

    /// The rules at a port of `shop/web`, for clients of every namespace.
    pub(crate) fn http_rules(&self, port: u16) -> Vec<HttpRule> {
        let routes = &self.joined.resources.routes[&"shop/web".parse().unwrap()];
        match &routes.group(port, "elsewhere").unwrap().rules {
            RouteRules::Http(rules) | RouteRules::Grpc(rules) => rules.clone(),
            other => unreachable!("{other:?}"),
        }
    }

    /// The only rule at port 80 of `shop/web`.
    pub(crate) fn rule(&self) -> HttpRule {
        let mut rules = self.http_rules(80);
        assert_eq!(rules.len(), 1);
        rules.remove(0)
    }

    pub(crate) fn status(&self, name: &str) -> &RouteStatus {
        let mut routes = self.joined.statuses.routes.iter();
        routes.find(|route| route.name.to_string() == name).unwrap()
    }

    /// Reason and message of `Accepted` at the only parent.
    pub(crate) fn accepted(&self, name: &str) -> (Reason, &str) {
        self.condition(name, 0)
    }

    /// Reason and message of `ResolvedRefs`.
    pub(crate) fn resolved(&self, name: &str) -> (Reason, &str) {
        self.condition(name, 1)
    }

    fn condition(&self, name: &str, index: usize) -> (Reason, &str) {
        let status = self.status(name);
        assert_eq!(status.parents.len(), 1);
        let condition = &status.parents[0].conditions[index];
        (condition.reason, &condition.message)
    }

    /// What is warned of, but Services without endpoints: `field: message`.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let problems = self.joined.problems.iter();
        problems
            .filter(|problem| problem.severity == Severity::Warning && problem.field != "spec.selector")
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect()
    }
}

fn show(group: &RouteGroup) -> String {
    let names = |rules: &[HttpRule]| rules.iter().map(|rule| rule.name.to_string()).collect();
    let (kind, names): (&str, Vec<String>) = match &group.rules {
        RouteRules::Http(rules) => ("http", names(rules)),
        RouteRules::Grpc(rules) => ("grpc", names(rules)),
        RouteRules::Tls(rules) => ("tls", rules.iter().map(|rule| rule.name.to_string()).collect()),
        RouteRules::Tcp(rules) => ("tcp", rules.iter().map(|rule| rule.name.to_string()).collect()),
    };
    let consumer = group.consumer.as_ref().map(|namespace| format!("<{namespace}"));
    format!(
        "{}{} {kind}: {}",
        group.port,
        consumer.unwrap_or_default(),
        names.join(" ")
    )
}

/// Backends as `weight*target`, `!` for one that leads nowhere.
pub(crate) fn targets(backends: &[WeightedBackend]) -> Vec<String> {
    backends
        .iter()
        .map(|backend| match &backend.target {
            BackendTarget::Service { service, port } => format!("{}*{service}:{port}", backend.weight),
            BackendTarget::Invalid { reason } => format!("{}*!{reason}", backend.weight),
        })
        .collect()
}
