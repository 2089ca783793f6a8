//! The keys of the zone: one signs everything, itself too (a combined signing key); more than one while they change.

use std::{fmt, fs, io, path::Path};

use hickory_proto::{
    dnssec::{
        Algorithm, DigestType, SigningKey as _, TBS,
        crypto::EcdsaSigningKey,
        rdata::{CDNSKEY, CDS, DNSKEY, DS},
    },
    rr::Name,
};

use crate::dns::update::key::others_may_read;

/// What all resolvers understand (RFC 8624 section 3.1), with signatures of 64 bytes.
pub const ALGORITHM: Algorithm = Algorithm::ECDSAP256SHA256;

/// Keys at once, at most: the old one, the new one, and one that waits.
pub const MAX_KEYS: usize = 3;

/// What a file of a key begins with.
const TAG: &str = "PRIVATE KEY";

/// A key of the zone.
pub struct ZoneKey {
    secret: EcdsaSigningKey,
    /// What is published of it.
    pub dnskey: DNSKEY,
    /// Names it in signatures (RFC 4034 appendix B).
    pub tag: u16,
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.tag)
    }
}

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
pub enum ZoneKeyError {
    /// It is not there.
    #[error(
        "is not there: copy it from another node, since all need the same; for the first, `difusor-node dns key FILE` makes one"
    )]
    Absent,
    /// It cannot be read.
    #[error("cannot be read: give it to the user that the node runs as, or its group (chgrp, chmod 640)")]
    Unreadable(#[source] io::Error),
    /// Anybody on this machine could sign.
    #[error("everybody on this machine may read it (mode {0:o}): chmod 640, with the node as its owner or group")]
    Open(u32),
    /// It is not what it should be.
    #[error("it is no key for ECDSA P-256 (PKCS #8, PEM): `difusor-node dns key FILE` makes one")]
    NoKey,
}

impl From<io::Error> for ZoneKeyError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Absent } else { Self::Unreadable(error) }
    }
}

impl ZoneKey {
    /// A new one, as the text of its file.
    ///
    /// # Errors
    /// [`ZoneKeyError::NoKey`] if this machine has no random numbers.
    pub fn make() -> Result<String, ZoneKeyError> {
        let made = EcdsaSigningKey::generate_pkcs8(ALGORITHM).map_err(|_| ZoneKeyError::NoKey)?;
        Ok(pem::encode(&pem::Pem::new(TAG, made.secret_pkcs8_der())))
    }

    /// Reads a file that others may not read.
    ///
    /// # Errors
    /// [`ZoneKeyError`], which says what to do.
    pub fn read(path: &Path) -> Result<Self, ZoneKeyError> {
        if let Some(mode) = others_may_read(path)? {
            return Err(ZoneKeyError::Open(mode));
        }
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ZoneKeyError::NoKey`].
    pub fn parse(text: &str) -> Result<Self, ZoneKeyError> {
        let read = || {
            let pem = pem::parse(text).ok().filter(|pem| pem.tag() == TAG)?;
            let secret = EcdsaSigningKey::from_pkcs8(&pem.contents().into(), ALGORITHM).ok()?;
            let dnskey = DNSKEY::new(true, true, false, secret.to_public_key().ok()?);
            let tag = dnskey.calculate_key_tag().ok()?;
            Some(Self { secret, dnskey, tag })
        };
        read().ok_or(ZoneKeyError::NoKey)
    }

    /// The signature of what is to be signed.
    pub fn sign(&self, what: &TBS) -> Option<Vec<u8>> {
        self.secret.sign(what).ok()
    }

    /// What the zone above says of it (RFC 4034 section 5).
    pub fn ds(&self, apex: &Name) -> Option<DS> {
        let digest = self.dnskey.to_digest(apex, DigestType::SHA256).ok()?.as_ref().to_vec();
        Some(DS::new(self.tag, ALGORITHM, DigestType::SHA256, digest))
    }

    /// The same, for a zone above that looks for it here (RFC 7344).
    pub fn cds(&self, apex: &Name) -> Option<CDS> {
        let ds = self.ds(apex)?;
        Some(CDS::new(ds.key_tag(), Some(ALGORITHM), ds.digest_type(), ds.digest().to_vec()))
    }

    /// The key, for a zone above that looks for it here (RFC 7344).
    pub fn cdnskey(&self) -> CDNSKEY {
        CDNSKEY::new(true, true, false, Some(ALGORITHM), self.dnskey.public_key().clone().into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let text = ZoneKey::make().unwrap();
        let (one, same) = (ZoneKey::parse(&text).unwrap(), ZoneKey::parse(&text).unwrap());
        assert_eq!((one.tag, &one.dnskey), (same.tag, &same.dnskey));
        assert_ne!(one.dnskey, ZoneKey::parse(&ZoneKey::make().unwrap()).unwrap().dnskey);
        assert!(one.dnskey.zone_key() && one.dnskey.secure_entry_point() && !one.dnskey.revoke());
        assert_eq!(one.dnskey.public_key().clone().into_inner().len(), 64);
        let apex = Name::from_ascii("results.example.org.").unwrap();
        assert!(one.ds(&apex).unwrap().covers(&apex, &one.dnskey).unwrap());
        assert_eq!(one.cds(&apex).unwrap().digest(), one.ds(&apex).unwrap().digest());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let fine = ZoneKey::make().unwrap();
        for text in ["", "key", &fine.replace("PRIVATE", "PUBLIC"), &fine.replace("MI", "AA")] {
            assert!(matches!(ZoneKey::parse(text), Err(ZoneKeyError::NoKey)), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone.key");
        assert!(matches!(ZoneKey::read(&path), Err(ZoneKeyError::Absent)));
        fs::write(&path, fine).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ZoneKey::read(&path), Err(ZoneKeyError::Open(0o644))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(ZoneKey::read(&path).is_ok());
    }
}
