//! What the kernel connects without the proxy, and why the rest is not.

use mesh_api::admin::DirectStatus;

use crate::table::Column::{Left, Right};
use crate::table::Table;

pub(super) fn direct_text(status: &DirectStatus) -> String {
    if let Some(reason) = &status.off {
        return format!("All connections go through mesh-node: {reason}.\n");
    }
    let mut table = Table::new([
        Left("WORKLOAD"),
        Left("DESTINATION"),
        Left("SERVICE"),
        Right("OPEN"),
        Left("NEXT"),
    ]);
    for pair in &status.pairs {
        let endpoints: Vec<String> = pair.endpoints.iter().map(ToString::to_string).collect();
        let next = match &pair.withheld {
            Some(reason) => format!("mesh-node: {reason}"),
            None => endpoints.join(" "),
        };
        table.push([
            pair.workload.clone(),
            pair.destination.to_string(),
            pair.service.clone().unwrap_or_default(),
            pair.open_connections.to_string(),
            next,
        ]);
    }
    table.render("No workload has connected to another one of this node.")
}

#[cfg(test)]
mod tests {
    use mesh_api::admin::DirectPair;

    use super::*;

    fn pair(withheld: Option<&str>) -> DirectPair {
        DirectPair {
            workload: "shop/web".to_owned(),
            destination: "10.96.0.11:5432".parse().unwrap(),
            service: Some("shop/db".to_owned()),
            endpoints: match withheld {
                Some(_) => Vec::new(),
                None => vec!["10.1.0.3:5432".parse().unwrap(), "10.1.0.4:5432".parse().unwrap()],
            },
            withheld: withheld.map(str::to_owned),
            open_connections: 3,
        }
    }

    #[test]
    fn says_where_the_next_connection_goes_and_why() {
        let text = direct_text(&DirectStatus {
            off: None,
            pairs: vec![pair(None), pair(Some("routes apply at the port"))],
        });
        for part in [
            "10.1.0.3:5432 10.1.0.4:5432",
            "mesh-node: routes apply at the port",
            "shop/db",
            "3",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let off = direct_text(&DirectStatus {
            off: Some("it is switched off".to_owned()),
            pairs: Vec::new(),
        });
        assert_eq!(off, "All connections go through mesh-node: it is switched off.\n");
    }
}
