//! When a certificate is renewed. Pure: time is a parameter, in seconds since 1970.

use std::time::Duration;

use super::Material;

/// The moment at which half of the certificate's life is over.
pub fn half_life(not_before: i64, not_after: i64) -> i64 {
    not_before + (not_after - not_before) / 2
}

/// How long to wait before renewing; zero: now. A certificate whose signer is not the present one is renewed at
/// once, or it would be refused when the former root is dropped.
pub fn wait(material: &Material, signer: Option<&[u8; 32]>, now: i64) -> Duration {
    if signer.is_some_and(|signer| *signer != material.signer) {
        return Duration::ZERO;
    }
    let seconds = half_life(material.not_before, material.not_after) - now;
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Whether the certificate still serves.
pub fn is_valid(material: &Material, now: i64) -> bool {
    material.not_before <= now && now < material.not_after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_at_half_of_its_life() {
        assert_eq!(half_life(1000, 2000), 1500);
        assert_eq!(half_life(0, 86_400), 43_200);
    }
}
