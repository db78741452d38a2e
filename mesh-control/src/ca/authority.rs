//! The authority of the running process: the signer in force, replaced when its files change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh_model::{TrustBundle, TrustDomain};
use mesh_runtime::drain::Drain;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::config::KeySource;
use super::directory::{self, Directory};
use super::{CaConfig, CaError, Signer, x509};

/// How often the files are looked at: they are few and small, and what a step of a rollover takes to show.
const POLL: Duration = Duration::from_millis(500);

/// Signs with whatever the files say at present.
#[derive(Debug)]
pub struct Authority {
    config: CaConfig,
    trust_domain: TrustDomain,
    signer: ArcSwap<Signer>,
    bundle: watch::Sender<TrustBundle>,
}

// === impl Authority ===

impl Authority {
    /// Makes the own root if it is wanted and not there, and loads the signer.
    pub fn open(config: &CaConfig) -> Result<Self, CaError> {
        let trust_domain = config.trust_domain().map_err(CaError::Refused)?;
        if let Some(path) = &config.directory {
            Directory::new(path).ensure(&trust_domain)?;
        }
        let signer = load(config)?;
        let bundle = signer.bundle(&trust_domain);
        Ok(Self {
            config: config.clone(),
            trust_domain,
            signer: ArcSwap::from_pointee(signer),
            bundle: watch::Sender::new(bundle),
        })
    }

    /// Loads the signer without making or keeping anything; an own root that is not there yet is no error.
    pub fn check(config: &CaConfig) -> Result<(), CaError> {
        match &config.directory {
            Some(path) if !Directory::new(path).exists() => Ok(()),
            _ => load(config).map(drop),
        }
    }

    /// Loads the signer again, and returns whether it or the trust bundle changed. The one before stays in force when
    /// the files are wrong.
    pub fn reload(&self) -> Result<bool, CaError> {
        let signer = load(&self.config)?;
        let bundle = signer.bundle(&self.trust_domain);
        if *self.bundle.borrow() == bundle && self.signer().has_chain_of(&signer) {
            return Ok(false);
        }
        // In this order: a node that hears of the new signer and asks at once is signed for by it.
        self.signer.store(Arc::new(signer));
        self.bundle.send_replace(bundle);
        Ok(true)
    }

    /// Reloads whenever the files change, until the drain.
    pub async fn follow(self: Arc<Self>, drain: Drain) {
        let mut last_error = String::new();
        let mut last_digest = None;
        loop {
            tokio::select! {
                () = drain.stopping() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let authority = Arc::clone(&self);
            let reload = move || {
                let digest = digest(&authority.config);
                let is_same = digest.is_some() && digest == last_digest;
                (digest, if is_same { Ok(false) } else { authority.reload() })
            };
            let Ok((digest, reloaded)) = tokio::task::spawn_blocking(reload).await else {
                return;
            };
            // Files that could not be used are tried again: they may be in the middle of a replacement.
            last_digest = digest.filter(|_| reloaded.is_ok());
            match reloaded {
                Ok(true) => {
                    last_error.clear();
                    let signer = x509::hex(&self.signer().fingerprint());
                    let roots = self.bundle.borrow().roots.len();
                    tracing::info!(signer, roots, "the certificate authority changed");
                }
                Ok(false) => last_error.clear(),
                Err(error) => {
                    let error = error.to_string();
                    if error != last_error {
                        tracing::error!(
                            error,
                            "the certificate authority's files are wrong; what they said before stays in force"
                        );
                        last_error = error;
                    }
                }
            }
        }
    }

    /// The signer in force.
    pub fn signer(&self) -> Arc<Signer> {
        self.signer.load_full()
    }

    /// Follows the trust bundle.
    pub fn bundle(&self) -> watch::Receiver<TrustBundle> {
        self.bundle.subscribe()
    }

    /// The trust domain that is signed for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// How long a workload's certificate is valid.
    pub fn lifetime(&self) -> Duration {
        self.config.certificate_lifetime
    }
}

/// A digest of the files that say what signs; `None` when they can't be read, which loading says better.
fn digest(config: &CaConfig) -> Option<[u8; 32]> {
    let paths = match config.key_source().ok()? {
        KeySource::Directory(path) => vec![Directory::new(path).state_path()],
        KeySource::Files {
            certificate,
            key,
            root,
        } => [certificate, key, root].map(Path::to_owned).to_vec(),
    };
    let mut digest = Sha256::new();
    for path in paths {
        digest.update(Sha256::digest(fs::read(path).ok()?));
    }
    Some(digest.finalize().into())
}

fn load(config: &CaConfig) -> Result<Signer, CaError> {
    match config.key_source().map_err(CaError::Refused)? {
        KeySource::Directory(path) => Directory::new(path).signer(),
        KeySource::Files {
            certificate,
            key,
            root,
        } => {
            let mut chain = x509::read_certificates(certificate)?;
            let roots = x509::read_certificates(root)?;
            let key = directory::read_key(key)?;
            // A root at the end of the chain is of no use to anybody.
            chain.retain(|link| !roots.contains(link));
            let Some(issuing) = chain.first().cloned() else {
                let reason =
                    "holds only a root; put the root's key under ca.directory, or an intermediate here";
                return Err(CaError::content(certificate, reason));
            };
            Signer::new(certificate, issuing, key, chain, roots)
        }
    }
}

#[cfg(test)]
mod tests;
