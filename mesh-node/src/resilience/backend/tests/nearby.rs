//! Locality: the zone, the region, all.

use mesh_model::{BackendPolicy, Endpoint, LocalityPreference, OutlierDetection};

use super::super::*;
use super::count;
use crate::resilience::Outcome;
use crate::resilience::world::{World, endpoint, locality};

fn placed(places: &[(&str, &str, bool)]) -> Vec<Endpoint> {
    let with = |(n, (region, zone, is_ready)): (usize, &(&str, &str, bool))| Endpoint {
        locality: locality(region, zone),
        is_ready: *is_ready,
        ..endpoint(n)
    };
    places.iter().enumerate().map(with).collect()
}

fn nearby() -> BackendPolicy {
    BackendPolicy {
        locality: LocalityPreference::Failover,
        ..BackendPolicy::default()
    }
}

#[test]
fn the_zone_goes_first_then_the_region_then_all() {
    let everywhere = [
        ("eu", "a", true),
        ("eu", "a", true),
        ("eu", "b", true),
        ("us", "a", true),
    ];
    let here = locality("eu", "a");
    let world = World::new(nearby(), placed(&everywhere));
    let counts = count(&world, &here, drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1]);
    // A zone of the same name in another region is another zone.
    let counts = count(&world, &locality("us", "a"), drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [3]);
    // Nothing in the zone: the region. Nothing in the region, or not known where the client is: all.
    let counts = count(&world, &locality("eu", "c"), drop);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(count(&world, &locality("asia", "a"), drop).len(), 4);
    assert_eq!(count(&world, &Locality::default(), drop).len(), 4);
}

#[test]
fn a_zone_that_is_half_down_bears_seven_tenths() {
    // One of two is ready: 0.5 × 1.4 = 0.7 stays in the zone; the region, with 2 of 3, takes the rest.
    let places = [
        ("eu", "a", true),
        ("eu", "a", false),
        ("eu", "b", true),
        ("us", "a", true),
    ];
    let world = World::new(nearby(), placed(&places));
    let counts = count(&world, &locality("eu", "a"), drop);
    // The region is the zone too: half of its part comes back.
    assert!((16_700..17_300).contains(&counts[&0]), "{counts:?}");
    assert!((2_700..3_300).contains(&counts[&2]), "{counts:?}");
    assert!(!counts.contains_key(&3), "{counts:?}");
}

#[test]
fn ejected_endpoints_move_their_zone_s_share_on() {
    let policy = BackendPolicy {
        outliers: Some(OutlierDetection {
            consecutive_5xx: Some(1),
            consecutive_gateway: None,
            success_rate: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 100,
        }),
        ..nearby()
    };
    let places = [("eu", "a", true), ("eu", "b", true), ("us", "a", true)];
    let world = World::new(policy, placed(&places));
    let here = locality("eu", "a");
    world.backend.endpoints()[0]
        .state
        .begin()
        .finish(Outcome::Status(500), Duration::ZERO);
    // A half of the region is left, which bears 0.7; the rest goes anywhere.
    let counts = count(&world, &here, drop);
    assert!(!counts.contains_key(&0), "{counts:?}");
    assert!((16_700..17_300).contains(&counts[&1]), "{counts:?}");
}
