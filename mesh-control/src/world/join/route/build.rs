//! Builds what nodes are told: the rules at each port of each Service.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{
    HttpRule, Mirror, ResourceName, RouteGroup, RouteRules, RuleName, ServiceRoutes, TcpRule, TlsRule,
    WeightedBackend,
};

use super::{Candidate, Place, Services, backend};
use crate::world::join::policy::Policies;
use crate::world::{Filter, Route, RouteKind, Rule, WeightedRef};

/// The routes of every Service that has any. Conflicts are settled: at each place there are candidates of one kind only,
/// the oldest first.
pub(super) fn services(
    candidates: &[Candidate<'_>],
    services: &Services,
    policies: &Policies<'_>,
) -> BTreeMap<ResourceName, ServiceRoutes> {
    let mut places: BTreeMap<Place, Vec<&Route>> = BTreeMap::new();
    for candidate in candidates {
        for place in candidate.places() {
            let routes = places.entry(place).or_default();
            // Two references may mean one port: by its number and by its name.
            if routes
                .last()
                .is_none_or(|last| !std::ptr::eq(*last, candidate.route))
            {
                routes.push(candidate.route);
            }
        }
    }
    let mut built: BTreeMap<ResourceName, ServiceRoutes> = BTreeMap::new();
    for (place, routes) in places {
        let Some(kind) = routes.first().map(|route| route.kind) else {
            continue;
        };
        let context = Context {
            place: &place,
            services,
            policies,
        };
        let group = RouteGroup {
            port: place.1,
            consumer: place.2.clone(),
            rules: context.rules(kind, &routes),
        };
        let of_service = built.entry(place.0.clone()).or_insert_with(|| ServiceRoutes {
            service: place.0.clone(),
            groups: Vec::new(),
        });
        of_service.groups.push(group);
    }
    built
}

/// Where rules are built for.
struct Context<'a> {
    place: &'a Place,
    services: &'a Services,
    policies: &'a Policies<'a>,
}

/// A rule of one of the routes.
struct Named<'a> {
    name: Arc<RuleName>,
    route: &'a Route,
    rule: &'a Rule,
}

// === impl Context ===

impl Context<'_> {
    fn rules(&self, kind: RouteKind, routes: &[&Route]) -> RouteRules {
        let all = routes.iter().flat_map(|route| Named::all(route));
        match kind {
            RouteKind::Http => RouteRules::Http(all.map(|rule| self.http(&rule)).collect()),
            RouteKind::Grpc => RouteRules::Grpc(all.map(|rule| self.http(&rule)).collect()),
            RouteKind::Tls => RouteRules::Tls(all.map(|rule| self.tls(&rule)).collect()),
            RouteKind::Tcp => RouteRules::Tcp(all.map(|rule| self.tcp(&rule)).collect()),
        }
    }

    fn http(&self, named: &Named<'_>) -> HttpRule {
        let (service, port) = (&self.place.0, self.place.1);
        let port = self.services.get(service).and_then(|service| service.port(port));
        let port_name = port.map(|port| port.name.as_str()).unwrap_or_default();
        HttpRule {
            name: Arc::clone(&named.name),
            matches: named.rule.matches.clone(),
            filters: self.filters(named.route.kind, &named.rule.filters),
            backends: self.backends(named),
            policy: self.policies.of_rule(named.route, named.rule, service, port_name),
        }
    }

    fn tls(&self, named: &Named<'_>) -> TlsRule {
        TlsRule {
            name: Arc::clone(&named.name),
            server_names: named.route.hostnames.clone(),
            backends: self.backends(named),
        }
    }

    fn tcp(&self, named: &Named<'_>) -> TcpRule {
        TcpRule {
            name: Arc::clone(&named.name),
            backends: self.backends(named),
        }
    }

    fn backends(&self, named: &Named<'_>) -> Vec<WeightedBackend> {
        let kind = named.route.kind;
        let backend = |given: &WeightedRef| WeightedBackend {
            weight: given.weight,
            target: backend::target(kind, &given.backend, self.services),
            filters: self.filters(kind, &given.filters),
        };
        named.rule.backends.iter().map(backend).collect()
    }

    fn filters(&self, kind: RouteKind, filters: &[Filter]) -> Vec<mesh_model::Filter> {
        let filter = |filter: &Filter| match filter {
            Filter::Plain(filter) => filter.clone(),
            Filter::Mirror {
                backend,
                numerator,
                denominator,
            } => mesh_model::Filter::Mirror(Mirror {
                target: backend::target(kind, backend, self.services),
                numerator: *numerator,
                denominator: *denominator,
            }),
        };
        filters.iter().map(filter).collect()
    }
}

// === impl Named ===

impl<'a> Named<'a> {
    fn all(route: &'a Route) -> impl Iterator<Item = Named<'a>> {
        route.rules.iter().enumerate().map(move |(place, rule)| Named {
            name: Arc::new(RuleName {
                route: route.name.clone(),
                rule: rule.label(place),
            }),
            route,
            rule,
        })
    }
}
