//! Whatever state endpoints are in: the best one is chosen, and one is whenever there is one.

use mesh_model::{Endpoint, LocalityPreference, OutlierDetection};
use proptest::prelude::*;

use super::super::*;
use super::all_balancings;
use crate::resilience::world::{World, balancing, endpoint, locality, number, pick};

/// An endpoint's state of affairs.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "any combination of them may occur")]
struct Case {
    is_ready: bool,
    weight: u32,
    is_ejected: bool,
    is_tried: bool,
    is_doubtful: bool,
    under_way: usize,
    zone: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let flags = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    );
    (flags, 0_u32..4, 0_usize..4, 0_usize..3).prop_map(
        |((is_ready, is_ejected, is_tried, is_doubtful), weight, under_way, zone)| Case {
            is_ready,
            weight,
            is_ejected,
            is_tried,
            is_doubtful,
            under_way,
            zone,
        },
    )
}

// === impl Case ===

impl Case {
    /// Whether it may be chosen at all, ejection apart.
    fn is_possible(&self) -> bool {
        self.is_ready && !self.is_tried && self.under_way < 3
    }

    /// How well it suits, the less the better; `None` when it must not be chosen while it is ejected.
    fn rank(&self) -> Option<u32> {
        let is_candidate = self.is_possible() && !self.is_ejected;
        is_candidate.then(|| 2 * u32::from(self.is_doubtful) + u32::from(self.weight == 0))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn chooses_one_that_is_free_whenever_there_is_one(
        cases in prop::collection::vec(case(), 0..12), way in 0_usize..6, hash: Option<u64>, near: bool,
    ) {
        let mut policy = balancing(all_balancings()[way].clone());
        policy.limits.endpoint_max_requests = Some(3);
        policy.locality = if near { LocalityPreference::Failover } else { LocalityPreference::None };
        let outliers = OutlierDetection {
            consecutive_5xx: Some(1),
            consecutive_gateway: None,
            success_rate: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(3_000),
            max_ejection: Duration::from_secs(3_000),
            max_ejected_percent: 100,
        };
        policy.outliers = Some(outliers.clone());
        let with = |(n, case): (usize, &Case)| Endpoint {
            is_ready: case.is_ready,
            weight: case.weight,
            locality: locality("eu", ["a", "b", "c"][case.zone]),
            ..endpoint(n)
        };
        let world = World::new(policy, cases.iter().enumerate().map(with).collect());
        let states: Vec<_> = world.backend.endpoints().into_iter().map(|view| view.state).collect();
        let mut under_way = Vec::new();
        for (case, state) in cases.iter().zip(&states) {
            under_way.extend((0..case.under_way).map(|_| state.begin()));
            if case.is_ejected {
                state.health.eject(&outliers, Moment::now());
            }
            if case.is_doubtful {
                (0..30).for_each(|_| state.reach.failed(Moment::now()));
            }
        }
        world.backend.review_ejections();
        let tried = cases.iter().zip(&states).filter(|(case, _)| case.is_tried);
        let tried: Vec<_> = tried.map(|(_, state)| Arc::clone(state)).collect();
        let here = locality("eu", "a");
        let pick = Pick { hash, ..pick(&tried, &here) };
        let best = cases.iter().filter_map(Case::rank).min();
        let is_full = |case: &Case| case.is_ready && !case.is_ejected && !case.is_tried && case.under_way >= 3;
        for _ in 0..5 {
            match world.backend.choose(&pick) {
                Ok(chosen) => {
                    let chosen = &cases[number(chosen.address)];
                    prop_assert!(chosen.is_possible(), "{chosen:?}");
                    prop_assert!(best.is_none_or(|best| chosen.rank() == Some(best)), "{chosen:?}");
                }
                // What is full is not relieved by what is drained or does badly.
                Err(error) => prop_assert!(best.is_none_or(|best| best > 0) && (best.is_none() || cases.iter().any(is_full)), "{error}"),
            }
        }
    }
}
