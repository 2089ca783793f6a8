//! The two files of a certificate: read as bytes first, so that their content can be compared, then understood.

use std::{fs, path::Path, path::PathBuf};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};

use super::CertificateError;

/// Where the pair lies.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// What the files held when they were read, one after the other: not necessarily a pair.
pub(super) struct Material {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn read(&self) -> Result<Material, CertificateError> {
        Ok(Material { chain: read(&self.chain)?, key: read(&self.key)? })
    }

    pub(super) fn unfit(&self, source: rustls::Error) -> CertificateError {
        CertificateError::Unfit { chain: self.chain.clone(), key: self.key.clone(), source }
    }
}

impl Material {
    /// Equal if and only if both files are.
    pub(super) fn content(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        // A digest each, so that no byte can move from one file to the other unnoticed.
        hasher.update(blake3::hash(&self.chain).as_bytes());
        hasher.update(blake3::hash(&self.key).as_bytes());
        hasher.finalize()
    }

    /// `files` only names them in errors.
    pub(super) fn parse(
        &self,
        files: &Files,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        Ok((chain(&files.chain, &self.chain)?, key(&files.key, &self.key)?))
    }
}

fn chain(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if !is_pem(bytes) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|source| CertificateError::Pem { path: path.into(), source })?;
    if chain.is_empty() {
        return Err(CertificateError::Absent { path: path.into(), what: "certificate" });
    }
    Ok(chain)
}

fn key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let absent = || CertificateError::Absent { path: path.into(), what: "private key" };
    if !is_pem(bytes) {
        return PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| absent());
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => absent(),
        source => CertificateError::Pem { path: path.into(), source },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read { path: path.into(), source })
}

/// PEM is text with a marker somewhere (RFC 7468 permits text before it); DER begins with the byte of a sequence.
fn is_pem(bytes: &[u8]) -> bool {
    bytes.first() != Some(&0x30)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::{
        super::{H2, HTTP11, tls_config_from_files},
        *,
    };

    #[test]
    fn reads_pem_and_der_and_names_the_file_at_fault() {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let both = format!("A comment.\n{}{}", made.cert.pem(), other.cert.pem());
        let chain_pem = write("chain.pem", both.as_bytes());
        let key_pem = write("key.pem", made.signing_key.serialize_pem().as_bytes());
        let chain_der = write("chain.der", made.cert.der());
        let key_der = write("key.der", made.signing_key.serialized_der());
        for (chain, key) in [(&chain_pem, &key_pem), (&chain_der, &key_der), (&chain_pem, &key_der)] {
            let config = tls_config_from_files(chain, key).unwrap();
            assert_eq!(config.alpn_protocols, [H2, HTTP11]);
            assert!(config.ticketer.enabled());
        }
        assert_eq!(chain(&chain_pem, both.as_bytes()).unwrap().len(), 2);

        let message = |chain: &Path, key: &Path| tls_config_from_files(chain, key).unwrap_err().to_string();
        let foreign = write("other.pem", other.signing_key.serialize_pem().as_bytes());
        let empty = write("empty.pem", b"");
        let torn = write("torn.pem", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
        let nowhere = dir.path().join("nowhere.pem");
        assert!(message(&chain_pem, &foreign).contains("other.pem"));
        assert!(message(&empty, &key_pem).contains("empty.pem: holds no certificate"));
        assert!(message(&chain_pem, &chain_pem).contains("chain.pem: holds no private key"));
        assert!(message(&chain_pem, &chain_der).contains("chain.der: holds no private key"));
        assert!(message(&torn, &key_pem).contains("torn.pem: not valid PEM"));
        assert!(message(&nowhere, &key_pem).contains("nowhere.pem"));
    }

    #[test]
    fn content_is_of_both_files() {
        let content = |chain: &[u8], key: &[u8]| Material { chain: chain.into(), key: key.into() }.content();
        assert_eq!(content(b"ab", b"c"), content(b"ab", b"c"));
        assert_ne!(content(b"ab", b"c"), content(b"a", b"bc"));
        assert_ne!(content(b"ab", b"c"), content(b"c", b"ab"));
    }
}
