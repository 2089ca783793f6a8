//! The certificate of the site: replaced again and again while it is in use, as a renewal does.
//!
//! One authority, which clients trust, issues every pair. Once the node shows a new one, no handshake may show an
//! older; and a pair of which only one half is written must never be shown.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::judge::{Fault, Kind};

/// The name that clients ask for.
pub(super) const HOST: &str = "localhost";

/// The new certificate is shown within this, however busy the machine.
const SHOWN: Duration = Duration::from_secs(10);

/// Long enough for a signal to be acted on.
const SIGNAL: Duration = Duration::from_millis(150);

/// Issues pairs, and knows which may be shown.
pub(super) struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    authority: Vec<u8>,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    /// The leaves (DER) that were written, in order.
    leaves: Mutex<Vec<Vec<u8>>>,
    /// The newest that is known to be shown.
    settled: AtomicUsize,
}

/// A certificate and its key, PEM.
struct Pair {
    leaf: Vec<u8>,
    chain: String,
    key: String,
}

impl Certificates {
    /// Makes an authority, and the first pair in `dir`.
    ///
    /// # Errors
    /// What the disk gives.
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.der().to_vec();
        let certificates = Self {
            issuer: Issuer::new(params, key),
            authority,
            chain: dir.join("site.pem"),
            key: dir.join("site.key"),
            leaves: Mutex::default(),
            settled: AtomicUsize::new(0),
        };
        let pair = certificates.issue()?;
        replace(&certificates.chain, &pair.chain)?;
        replace(&certificates.key, &pair.key)?;
        certificates.lock().push(pair.leaf);
        Ok(certificates)
    }

    /// The authority's certificate, DER.
    pub(super) fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Lines of the node's configuration that name the files.
    pub(super) fn config(&self) -> String {
        format!("certificate = {:?}\nkey = {:?}\n", self.chain, self.key)
    }

    /// The number of the newest pair that is known to be shown: what a handshake that begins now shows at least.
    pub(super) fn settled(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    /// The number of the newest pair.
    pub(super) fn newest(&self) -> usize {
        self.lock().len().saturating_sub(1)
    }

    /// Weighs what a handshake showed; `settled` is from before it began.
    ///
    /// # Errors
    /// If it is an older pair, or one that was never whole.
    pub(super) fn check(&self, settled: usize, leaf: &[u8]) -> Result<usize, Fault> {
        let number = self.lock().iter().position(|written| written == leaf);
        let expected = format!("certificate {settled} or a newer one");
        match number {
            Some(number) if number >= settled => Ok(number),
            Some(number) => Err(Fault::new(Kind::Certificate, expected, format!("certificate {number}"))),
            None => Err(Fault::new(Kind::Certificate, expected, "one that was never written with its key")),
        }
    }

    /// Writes a new pair, tells the process, and waits until `show` is shown it. With `torn`, only the certificate is
    /// written first, and must not be shown.
    ///
    /// # Errors
    /// What the disk gives. The fault within, if the wrong pair is shown.
    pub(super) async fn renew(
        &self,
        pid: u32,
        torn: bool,
        show: impl AsyncFn() -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Result<(), Fault>> {
        let pair = self.issue()?;
        replace(&self.chain, &pair.chain)?;
        if torn {
            hang_up(pid)?;
            tokio::time::sleep(SIGNAL).await;
            let settled = self.settled();
            if let Err(fault) = self.check(settled, &show().await?) {
                return Ok(Err(fault));
            }
        }
        // From here on it may be shown, be it that the node looks at the files by itself.
        self.lock().push(pair.leaf);
        replace(&self.key, &pair.key)?;
        hang_up(pid)?;
        let (newest, since) = (self.newest(), Instant::now());
        loop {
            match self.check(self.settled(), &show().await?) {
                Ok(number) if number == newest => break,
                Ok(number) if since.elapsed() > SHOWN => {
                    let expected = format!("certificate {newest} within {} s", SHOWN.as_secs());
                    return Ok(Err(Fault::new(Kind::Certificate, expected, format!("certificate {number}"))));
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(fault) => return Ok(Err(fault)),
            }
        }
        self.settled.store(newest, Ordering::SeqCst);
        Ok(Ok(()))
    }

    fn issue(&self) -> anyhow::Result<Pair> {
        let mut params = CertificateParams::new(vec![HOST.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { leaf: certificate.der().to_vec(), chain: certificate.pem(), key: key.serialize_pem() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file is there whole, before and after.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_added_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).with_context(|| format!("writing {}", path.display()))
}

fn hang_up(pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").arg("-HUP").arg(pid.to_string()).status().context("running kill")?;
    anyhow::ensure!(status.success(), "the node is gone");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use super::*;

    /// A process that a SIGHUP does nothing to.
    fn deaf() -> Child {
        Command::new("sh").args(["-c", "trap '' HUP; while :; do sleep 1; done"]).spawn().unwrap()
    }

    #[test]
    fn only_pairs_that_may_be_shown() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(dir.path()).unwrap();
        let first = certificates.lock()[0].clone();
        assert_eq!(certificates.check(0, &first), Ok(0));
        let second = certificates.issue().unwrap().leaf;
        assert_eq!(certificates.check(0, &second).unwrap_err().kind, Kind::Certificate, "not written yet");
        certificates.lock().push(second.clone());
        assert_eq!(certificates.check(0, &second), Ok(1));
        assert_eq!(certificates.check(0, &first), Ok(0), "the node need not know yet");
        assert_eq!(certificates.check(1, &first).unwrap_err().kind, Kind::Certificate, "an older one");
        assert!(certificates.config().contains("site.pem\"\nkey = \""));
    }

    #[tokio::test]
    async fn renewals_wait_until_they_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(dir.path()).unwrap();
        let mut process = deaf();
        // Shows what is in the file as soon as it is a pair, which the second try of a torn one is not.
        let newest = async || Ok(certificates.lock().last().unwrap().clone());
        for torn in [false, true] {
            assert_eq!(certificates.renew(process.id(), torn, newest).await.unwrap(), Ok(()));
        }
        assert_eq!((certificates.settled(), certificates.newest()), (2, 2));
        let hasty = async || Ok(rustls_leaf(&certificates.chain));
        let fault = certificates.renew(process.id(), true, hasty).await.unwrap().unwrap_err();
        assert_eq!(fault.kind, Kind::Certificate);
        let old = async || Ok(certificates.lock()[0].clone());
        let fault = certificates.renew(process.id(), false, old).await.unwrap().unwrap_err();
        assert_eq!(fault.kind, Kind::Certificate);
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(certificates.renew(process.id(), false, newest).await.is_err(), "the node is gone");
    }

    /// The leaf in a file, DER.
    fn rustls_leaf(path: &Path) -> Vec<u8> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap().to_vec()
    }
}
