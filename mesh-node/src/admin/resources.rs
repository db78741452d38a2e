//! What the node knows of workloads and Services, and what it does for and with them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use mesh_api::admin::{EjectionStatus, EndpointStatus, LocalWorkload, ServiceStatus, WorkloadStatus};
use mesh_model::{AppProtocol, Endpoint, NetworkMode, ResourceName, Service, ServicePort, Workload};

use super::Admin;
use crate::resilience::EndpointView;

impl Admin {
    pub(super) fn workloads(&self) -> Vec<WorkloadStatus> {
        let open = self.open_connections();
        let mut all: Vec<WorkloadStatus> = self
            .context
            .store
            .load()
            .workloads()
            .map(|workload| WorkloadStatus {
                name: workload.name.to_string(),
                node: workload.node.to_string(),
                identity: workload.identity.to_string(),
                addresses: workload.addresses.clone(),
                is_host_network: workload.network == NetworkMode::Host,
                is_enrolled: workload.is_enrolled(),
                local: self.local(workload, &open),
            })
            .collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn local(&self, workload: &Workload, open: &BTreeMap<String, usize>) -> Option<LocalWorkload> {
        if workload.node != self.context.node {
            return None;
        }
        let attachment = workload.attachment.as_ref()?;
        let present = self.context.locals.by_name(&workload.name);
        Some(LocalWorkload {
            cgroup: attachment.cgroup.clone(),
            network_namespace: attachment.network_namespace.clone(),
            is_captured: present.is_some(),
            waiting_for: self.reasons.lock().get(&workload.name).cloned(),
            open_connections: open.get(&workload.name.to_string()).copied().unwrap_or_default(),
        })
    }

    fn open_connections(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, connection) in self.context.live.list(usize::MAX) {
            if let Some(workload) = &connection.workload {
                *counts.entry(workload.to_string()).or_default() += 1;
            }
        }
        counts
    }

    pub(super) fn services(&self) -> Vec<ServiceStatus> {
        let snapshot = self.context.store.load();
        let under_way = self.under_way();
        let endpoints = |service: &Service| {
            let set = snapshot.endpoints(&service.name);
            set.into_iter()
                .flat_map(|set| &set.endpoints)
                .map(|endpoint| endpoint_status(&service.name, endpoint, &under_way))
                .collect()
        };
        let mut all: Vec<ServiceStatus> = snapshot
            .services()
            .map(|service| ServiceStatus {
                name: service.name.to_string(),
                addresses: service.addresses.clone(),
                ports: service.ports.iter().map(port).collect(),
                endpoints: endpoints(service),
            })
            .collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The endpoints of the backends that are in use.
    fn under_way(&self) -> UnderWay {
        let mut all = UnderWay::new();
        for backend in self.context.store.backends().all() {
            let (service, port) = backend.name();
            for endpoint in backend.endpoints() {
                let key = (service.clone(), endpoint.state.address);
                all.entry(key).or_default().push((port, endpoint));
            }
        }
        all
    }
}

/// Endpoints with the Services' ports that they serve, by Service and target.
type UnderWay = HashMap<(ResourceName, SocketAddr), Vec<(u16, EndpointView)>>;

fn endpoint_status(service: &ResourceName, endpoint: &Endpoint, under_way: &UnderWay) -> EndpointStatus {
    let mut status = EndpointStatus {
        address: endpoint.address,
        ports: endpoint
            .ports
            .iter()
            .map(|p| (p.service_port, p.target_port))
            .collect(),
        workload: endpoint.workload.as_ref().map(ToString::to_string),
        is_ready: endpoint.is_ready,
        active_connections: 0,
        active_requests: 0,
        ejected: Vec::new(),
    };
    for mapping in &endpoint.ports {
        let target = SocketAddr::new(endpoint.address, mapping.target_port);
        let views = under_way.get(&(service.clone(), target));
        for (port, view) in views.into_iter().flatten() {
            if *port != mapping.service_port {
                continue;
            }
            status.active_connections += view.state.connections();
            status.active_requests += view.state.in_flight();
            status.ejected.extend(view.ejected_for.map(|left| EjectionStatus {
                port: *port,
                // Rounded up: 0 is for those that may be tried again.
                seconds_left: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            }));
        }
    }
    status
}

fn port(port: &ServicePort) -> String {
    let protocol = match port.protocol {
        AppProtocol::Undeclared => "undeclared",
        AppProtocol::Tcp => "tcp",
        AppProtocol::Tls => "tls",
        AppProtocol::Http1 => "http1",
        AppProtocol::Http2 => "http2",
        AppProtocol::Grpc => "grpc",
    };
    format!("{}:{}/{protocol}", port.name, port.port)
}
