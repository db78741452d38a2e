//! Drawing by weight in constant time: Vose's alias method ("A Linear Algorithm for Generating Random Numbers with a
//! Given Distribution", IEEE TSE 1991).

/// Draws places of a list, each as often as its weight says.
#[derive(Debug)]
pub(super) enum Sampler {
    /// All weights are the same.
    Uniform(usize),
    /// For each place, the chance that it is taken when it is hit, and what is taken else.
    Weighted(Box<[(f32, u32)]>),
}

// === impl Sampler ===

impl Sampler {
    /// For weights greater than zero.
    pub(super) fn new(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self::Uniform(weights.len());
        }
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "an endpoint set has less than 2^52 members"
        )]
        let scale = weights.len() as f64 / total;
        let mut chances: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * scale).collect();
        let mut slots: Vec<(f32, u32)> = (0..).take(weights.len()).map(|place| (1.0, place)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|place| chances[*place] < 1.0);
        // What a light one leaves of its slot, a heavy one fills.
        while let (Some(light), Some(heavy)) = (small.pop(), large.last().copied()) {
            let filler = slots[heavy].1;
            #[expect(clippy::cast_possible_truncation, reason = "a chance needs no double")]
            let chance = chances[light] as f32;
            slots[light] = (chance, filler);
            chances[heavy] -= 1.0 - chances[light];
            if chances[heavy] < 1.0 {
                large.pop();
                small.push(heavy);
            }
        }
        Self::Weighted(slots.into_boxed_slice())
    }

    /// Whether all weights are the same.
    pub(super) fn is_uniform(&self) -> bool {
        matches!(self, Self::Uniform(_))
    }

    /// One place; 0 of an empty list.
    pub(super) fn draw(&self) -> usize {
        match self {
            Self::Uniform(0) => 0,
            Self::Uniform(count) => fastrand::usize(..count),
            Self::Weighted(slots) => {
                let place = fastrand::usize(..slots.len());
                let (chance, alias) = slots[place];
                if fastrand::f32() < chance {
                    place
                } else {
                    alias as usize
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exact share of each place.
    fn shares(sampler: &Sampler, count: usize) -> Vec<f64> {
        let mut shares = vec![0.0; count];
        let slot = 1.0 / f64::from(u32::try_from(count).unwrap());
        match sampler {
            Sampler::Uniform(_) => shares.fill(slot),
            Sampler::Weighted(slots) => {
                for (place, (chance, alias)) in slots.iter().enumerate() {
                    shares[place] += slot * f64::from(*chance);
                    shares[*alias as usize] += slot * (1.0 - f64::from(*chance));
                }
            }
        }
        shares
    }

    proptest! {
        #[test]
        fn the_shares_are_those_of_the_weights(weights in prop::collection::vec(1_u32..100_000, 1..200)) {
            let sampler = Sampler::new(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (share, weight) in shares(&sampler, weights.len()).into_iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / total).abs() < 1e-5);
            }
            prop_assert!((0..100).all(|_| sampler.draw() < weights.len()));
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        let sampler = Sampler::new(&[7, 2, 1]);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[sampler.draw()] += 1;
        }
        // Five standard deviations of a binomial are at most 790.
        assert!((69_200..70_800).contains(&counts[0]), "{counts:?}");
        assert!((19_200..20_800).contains(&counts[1]), "{counts:?}");
    }
}
