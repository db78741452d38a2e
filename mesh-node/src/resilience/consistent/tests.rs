use mesh_model::HashKey;
use proptest::prelude::*;

use super::*;
use crate::resilience::hash::{join, stable_hash};

const KEYS: u64 = 20_000;

fn nodes(weights: &[u32]) -> Vec<Node> {
    let node = |(index, weight): (u64, &u32)| Node {
        hash: join(index, 77),
        weight: *weight,
    };
    (0..).zip(weights).map(node).collect()
}

fn ring(min_size: u32) -> Balancing {
    Balancing::RingHash {
        key: HashKey::SourceAddress,
        min_size,
    }
}

fn maglev() -> Balancing {
    Balancing::Maglev {
        key: HashKey::SourceAddress,
        table_size: 65_537,
    }
}

fn table(balancing: &Balancing, nodes: &[Node]) -> Arc<Table> {
    Table::new(balancing, nodes, None).unwrap()
}

fn key(n: u64) -> u64 {
    stable_hash(&n.to_be_bytes())
}

/// The share of keys that each endpoint gets.
fn shares(table: &Table, count: usize) -> Vec<f64> {
    let mut shares = vec![0.0; count];
    for n in 0..KEYS {
        shares[table.find(key(n))] += 1.0 / 20_000.0;
    }
    shares
}

/// The share of keys that change their endpoint between two tables though it is in both.
fn moved(before: (&Table, &[Node]), after: (&Table, &[Node])) -> f64 {
    let moved = (0..KEYS).filter(|n| {
        let from = before.1[before.0.find(key(*n))].hash;
        let to = after.1[after.0.find(key(*n))].hash;
        from != to && after.1.iter().any(|node| node.hash == from)
    });
    f64::from(u32::try_from(moved.count()).unwrap()) / 20_000.0
}

#[test]
fn maglev_is_even_to_one_in_twenty() {
    let nodes = nodes(&[1; 10]);
    for share in shares(&table(&maglev(), &nodes), 10) {
        // The table itself is exact to one place in 6,554; the rest is the sample's.
        assert!((0.09..0.11).contains(&share), "{share}");
    }
    let exact = Maglev::new(&nodes, 65_537);
    for place in 0..10 {
        let taken = exact.places().iter().filter(|p| **p == place).count();
        assert!((6_553..=6_554).contains(&taken));
    }
}

#[test]
fn a_ring_is_even_within_what_its_points_allow() {
    let nodes = nodes(&[1; 10]);
    for share in shares(&table(&ring(10_240), &nodes), 10) {
        // 1,024 points each: a standard deviation of 3 % of a tenth, and the sample's of 2 %.
        assert!((0.08..0.12).contains(&share), "{share}");
    }
}

#[test]
fn weights_are_shares() {
    for balancing in [ring(20_000), maglev()] {
        let shares = shares(&table(&balancing, &nodes(&[1, 2, 5])), 3);
        for (share, weight) in shares.iter().zip([1.0, 2.0, 5.0]) {
            let expected = weight / 8.0;
            assert!(
                (share / expected - 1.0_f64).abs() < 0.1,
                "{balancing:?}: {shares:?}"
            );
        }
    }
}

#[test]
fn an_endpoint_that_leaves_moves_hardly_any_key_of_the_others() {
    let before = nodes(&[1; 10]);
    let after = [&before[..4], &before[5..]].concat();
    let ring_size = ring(1_024);
    let moved_on_ring = moved(
        (&table(&ring_size, &before), &before),
        (&table(&ring_size, &after), &after),
    );
    assert!(moved_on_ring < f64::EPSILON, "{moved_on_ring}");
    let moved_in_table = moved(
        (&table(&maglev(), &before), &before),
        (&table(&maglev(), &after), &after),
    );
    // The paper measures about as much at this size; a plain remainder would move nine keys in ten.
    assert!(moved_in_table < 0.04, "{moved_in_table}");
}

#[test]
fn an_endpoint_that_comes_takes_its_share_and_moves_hardly_any_other_key() {
    let after = nodes(&[1; 11]);
    let before = &after[..10];
    for balancing in [ring(1_024), maglev()] {
        let (old, new) = (table(&balancing, before), table(&balancing, &after));
        let elsewhere = (0..KEYS)
            .filter(|n| {
                let (from, to) = (old.find(key(*n)), new.find(key(*n)));
                from != to && to != 10
            })
            .count();
        assert!(elsewhere < 800, "{balancing:?}: {elsewhere} of 20,000");
    }
}

#[test]
fn a_ring_has_at_least_its_size_and_a_bound() {
    assert!(Ring::new(&nodes(&[1; 10]), 1_024).len() >= 1_024);
    assert!(Ring::new(&nodes(&[1; 3_000]), 1_024).len() >= 3_000);
    assert!(Ring::new(&nodes(&[1, 4_000_000_000, 3]), u32::MAX).len() <= 1 << 20);
}

#[test]
fn a_table_is_made_anew_only_when_something_changed() {
    let before = nodes(&[1, 2]);
    let made = table(&maglev(), &before);
    assert!(Arc::ptr_eq(
        &made,
        &Table::new(&maglev(), &before, Some(&made)).unwrap()
    ));
    let heavier = nodes(&[1, 3]);
    assert!(!Arc::ptr_eq(
        &made,
        &Table::new(&maglev(), &heavier, Some(&made)).unwrap()
    ));
    assert!(Table::new(&Balancing::Random, &before, Some(&made)).is_none());
}

#[test]
fn keys_of_an_endpoint_that_takes_nothing_spread_over_the_others_by_weight() {
    let others = nodes(&[1, 1, 2]);
    let mut counts = [0_u32; 3];
    for n in 0..KEYS {
        let nearest = (0..3)
            .min_by(|a, b| distance(key(n), others[*a]).total_cmp(&distance(key(n), others[*b])))
            .unwrap();
        counts[nearest] += 1;
    }
    assert!((4_700..5_300).contains(&counts[0]), "{counts:?}");
    assert!((9_600..10_400).contains(&counts[2]), "{counts:?}");
}

#[test]
fn a_size_that_is_no_prime_still_fills_the_table() {
    let filled = Maglev::new(&nodes(&[1, 2, 3]), 1_024);
    assert!(filled.places().iter().all(|place| *place < 3));
}

proptest! {
    #[test]
    fn every_key_finds_an_endpoint(weights in prop::collection::vec(1_u32..1_000, 1..50), hash: u64) {
        let nodes = nodes(&weights);
        for balancing in [ring(1_024), Balancing::Maglev { key: HashKey::SourceAddress, table_size: 1_009 }] {
            prop_assert!(table(&balancing, &nodes).find(hash) < nodes.len());
        }
    }
}
