//! What must hold for any bytes: of each part of `mesh-http` that reads what strangers send.
//!
//! A target is a function from bytes to nothing that panics when something does not hold. `fuzz_targets/` gives each to a
//! fuzzer; here, each gets the files of its folder below `seeds/` in an ordinary test: the fuzzer's beginnings, and whatever
//! it has ever found.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says what does not hold"
)]
#![expect(clippy::missing_panics_doc, reason = "likewise")]

pub mod detect;
pub mod guard_h1;
pub mod guard_h2;
pub mod headers;
pub mod path;
pub mod route;

/// A check of any bytes.
pub type Target = fn(&[u8]);

/// All targets, by the names of their programs and of their folders below `seeds/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("detect", detect::check),
    ("guard-h1", guard_h1::check),
    ("guard-h2", guard_h2::check),
    ("headers", headers::check),
    ("path", path::check),
    ("route", route::check),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Takes bytes away from the end, then changes single ones: what a fuzzer would try first.
    fn variants(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let lengths = (0..=seed.len().min(64)).chain([seed.len()]);
        let cut = lengths.map(|length| seed[..length].to_vec());
        let flipped = (0..seed.len().min(256)).map(|at| {
            let mut bytes = seed.to_vec();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        cut.chain(flipped)
    }

    #[test]
    fn every_target_has_seeds_and_takes_them() {
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
            let files: Vec<_> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert!(!files.is_empty(), "{} is empty", folder.display());
            for file in files {
                let seed = fs::read(&file).unwrap();
                println!("{}", file.display());
                variants(&seed).for_each(|bytes| target(&bytes));
            }
        }
    }
}
