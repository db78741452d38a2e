//! What is open now.

use mesh_api::admin::ConnectionStatus;

use crate::table::Column::{Left, Right};
use crate::table::Table;
use crate::units;

pub(super) fn connection_table(connections: &[ConnectionStatus]) -> String {
    let mut table = Table::new([
        Right("ID"),
        Left("DIRECTION"),
        Left("WORKLOAD"),
        Left("SOURCE"),
        Left("DESTINATION"),
        Left("SERVICE"),
        Left("ENDPOINT"),
        Left("PEER"),
        Left("TRANSPORT"),
        Right("SENT"),
        Right("RECEIVED"),
        Right("AGE"),
    ]);
    for connection in connections {
        table.push([
            connection.id.to_string(),
            connection.direction.clone(),
            connection.workload.clone(),
            connection.source.to_string(),
            connection.destination.to_string(),
            connection.service.clone().unwrap_or_default(),
            connection
                .endpoint
                .map(|endpoint| endpoint.to_string())
                .unwrap_or_default(),
            connection.peer.clone().unwrap_or_default(),
            connection.transport.clone(),
            units::bytes(connection.sent_bytes),
            units::bytes(connection.received_bytes),
            units::span(connection.age_seconds),
        ]);
    }
    table.render("No connections are open.")
}
