//! The hash that places endpoints and requests on rings and tables, and that cookies carry.
//!
//! Every node must come to the same answer, now and after an upgrade: no key, no seed, no dependence on the platform.
//! It is therefore no defence: who knows the endpoints' addresses can choose header values that lead to one of them, as
//! with every proxy that hashes consistently.

use std::net::{IpAddr, SocketAddr};

/// A hash of these bytes, the same on every node: FNV-1a (Fowler, Noll, Vo), 64 bits, then MurmurHash3's finaliser
/// (Appleby), since FNV alone leaves the high bits of short keys alike.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let fnv = bytes.iter().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    mix(fnv)
}

/// Spreads every bit over all: MurmurHash3's 64-bit finaliser, a bijection.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Two hashes as one.
pub(super) fn join(a: u64, b: u64) -> u64 {
    // The golden ratio's fraction, so that joining with 0 is no identity.
    mix(a.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(b))
}

/// The hash as a number from 0 to 1, 1 excluded.
pub(super) fn unit(hash: u64) -> f64 {
    /// 2^-53: what a double has bits for.
    const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let bits = (hash >> 11) as f64;
    bits * STEP
}

/// The hash of an endpoint's address.
pub(super) fn of_address(address: SocketAddr) -> u64 {
    let mut bytes = [0; 18];
    let length = match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            16
        }
    };
    bytes[length..length + 2].copy_from_slice(&address.port().to_be_bytes());
    stable_hash(&bytes[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_forever() {
        // Cookies in browsers and other nodes' tables depend on these.
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"user-17"), 0xd89d_f135_9ef4_b32f);
        assert_eq!(
            of_address("10.0.0.1:8080".parse().unwrap()),
            0xc4da_0a68_ba67_8347
        );
        assert_eq!(
            of_address("[::ffff:10.0.0.1]:8080".parse().unwrap()),
            of_address("10.0.0.1:8080".parse().unwrap())
        );
    }

    #[test]
    fn short_keys_that_differ_in_one_digit_spread_evenly() {
        let mut buckets = [0_u32; 16];
        for user in 0..16_000 {
            let hash = stable_hash(format!("user-{user}").as_bytes());
            buckets[usize::try_from(hash >> 60).unwrap()] += 1;
        }
        // 1,000 each; five standard deviations of a binomial are 153.
        assert!(buckets.iter().all(|n| (850..1150).contains(n)), "{buckets:?}");
    }

    #[test]
    fn a_unit_is_below_one() {
        assert!(unit(u64::MAX) < 1.0);
        assert!(unit(0).abs() < f64::EPSILON);
    }
}
