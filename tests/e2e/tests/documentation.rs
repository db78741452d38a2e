//! The documentation against the running product.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mesh_e2e::shop::{NEIGHBOUR, Shop, WEB};
use mesh_e2e::traffic::curl;

/// The family that a sample belongs to, as the documentation writes it.
fn documented_name(sample: &str) -> &str {
    let histogram = ["_bucket", "_sum", "_count"];
    histogram
        .iter()
        .find_map(|end| sample.strip_suffix(end))
        .unwrap_or(sample)
}

#[test]
fn every_metric_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let shop = Shop::open().unwrap();
    for service in [WEB, NEIGHBOUR] {
        assert_eq!(curl(&shop.client, &format!("http://{service}/ok")), "ok");
    }
    let mut names = BTreeSet::new();
    for metrics in [
        shop.a().metrics(),
        shop.b().metrics(),
        shop.mesh.control.metrics(),
    ] {
        let metrics = metrics.unwrap();
        names.extend(
            metrics
                .samples()
                .iter()
                .map(|sample| documented_name(&sample.name).to_owned()),
        );
    }
    assert!(names.len() > 40, "{names:?}");
    names.retain(|name| !text.contains(&format!("`{name}`")));
    assert!(names.is_empty(), "docs/metrics.md does not have {names:?}");
}
