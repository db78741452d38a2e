//! The order of a root's rollover. Pure: which certificate signs and which are trusted, after which step.
//!
//! ```text
//! Stable ──prepare──► Prepared ──activate──► Activated ──finish──► Stable
//! signs: old          signs: old             signs: new            signs: new
//! trusted: old        trusted: old, new      trusted: new, old     trusted: new
//! ```
//! At each moment everybody trusts what anybody may still present, if the operator leaves time between the steps:
//! after prepare for the nodes to hear of the new root, after activate for every certificate to be renewed.

use serde::{Deserialize, Serialize};

use super::CaError;

/// Where a rollover stands. Certificates are named by the SHA-256 of their DER, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rotation {
    /// One root.
    Stable {
        /// It signs.
        signer: String,
    },
    /// The next root is trusted, and does not sign yet.
    Prepared {
        /// It signs.
        signer: String,
        /// It will.
        next: String,
    },
    /// The new root signs; what the old one signed is still good.
    Activated {
        /// It signs.
        signer: String,
        /// It did.
        previous: String,
    },
}

/// A step of the rollover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new root and let everybody trust it.
    Prepare,
    /// Sign with the new root.
    Activate,
    /// Trust the old root no more.
    Finish,
}

// === impl Rotation ===

impl Rotation {
    /// Which certificate signs.
    pub fn signer(&self) -> &str {
        match self {
            Self::Stable { signer } | Self::Prepared { signer, .. } | Self::Activated { signer, .. } => {
                signer
            }
        }
    }

    /// The root that is trusted beside the signer.
    pub fn other(&self) -> Option<&str> {
        match self {
            Self::Stable { .. } => None,
            Self::Prepared { next: other, .. } | Self::Activated { previous: other, .. } => Some(other),
        }
    }

    /// Refuses a step that does not come next.
    pub fn check(&self, step: Step) -> Result<(), CaError> {
        let refusal = match (self, step) {
            (Self::Stable { .. }, Step::Prepare)
            | (Self::Prepared { .. }, Step::Activate)
            | (Self::Activated { .. }, Step::Finish) => return Ok(()),
            (Self::Stable { .. }, Step::Activate | Step::Finish) => {
                "no rollover is under way; begin one with 'ca rotate prepare'"
            }
            (Self::Prepared { .. }, Step::Prepare) => {
                "a new root is prepared already; go on with 'ca rotate activate'"
            }
            (Self::Prepared { .. }, Step::Finish) => {
                "the new root does not sign yet; go on with 'ca rotate activate'"
            }
            (Self::Activated { .. }, Step::Prepare | Step::Activate) => {
                "the new root signs already; end this rollover with 'ca rotate finish'"
            }
        };
        Err(CaError::Refused(refusal.to_owned()))
    }

    /// The state after a new root was made.
    pub fn prepared(&self, next: String) -> Result<Self, CaError> {
        self.check(Step::Prepare)?;
        let signer = self.signer().to_owned();
        Ok(Self::Prepared { signer, next })
    }

    /// The state in which the new root signs.
    pub fn activated(&self) -> Result<Self, CaError> {
        self.check(Step::Activate)?;
        let signer = self.other().unwrap_or_default().to_owned();
        let previous = self.signer().to_owned();
        Ok(Self::Activated { signer, previous })
    }

    /// The state without the old root.
    pub fn finished(&self) -> Result<Self, CaError> {
        self.check(Step::Finish)?;
        let signer = self.signer().to_owned();
        Ok(Self::Stable { signer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_in_one_order_only() {
        let stable = Rotation::Stable { signer: "old".into() };
        let prepared = stable.prepared("new".into()).unwrap();
        let activated = prepared.activated().unwrap();
        assert_eq!((prepared.signer(), prepared.other()), ("old", Some("new")));
        assert_eq!((activated.signer(), activated.other()), ("new", Some("old")));
        assert_eq!(
            activated.finished().unwrap(),
            Rotation::Stable { signer: "new".into() }
        );
        for (state, allowed) in [
            (stable, Step::Prepare),
            (prepared, Step::Activate),
            (activated, Step::Finish),
        ] {
            for step in [Step::Prepare, Step::Activate, Step::Finish] {
                assert_eq!(state.check(step).is_ok(), step == allowed, "{state:?} {step:?}");
            }
        }
    }

    #[test]
    fn says_what_to_do_instead() {
        let stable = Rotation::Stable { signer: "old".into() };
        let message = stable.activated().unwrap_err().to_string();
        assert_eq!(
            message,
            "no rollover is under way; begin one with 'ca rotate prepare'"
        );
    }
}
