//! Statements that only the coordinator's signing key can make: manifests and flips.
//!
//! A signature covers the kind of the statement and the BLAKE3 of its bytes (Ed25519, RFC 8032), so a statement of
//! one kind can never be passed off as another, and anyone who has the 32-byte root can check it. Peers may relay
//! signed statements; they cannot forge them.

use std::{fmt, marker::PhantomData};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, MeshId, digest::decode_hex};

/// What can be signed.
pub trait Statement: Serialize + DeserializeOwned {
    /// Keeps statements of different kinds apart.
    const DOMAIN: &'static str;

    /// The mesh this statement speaks to.
    fn mesh(&self) -> MeshId;
}

/// Why a statement was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The signature does not verify under the mesh's key.
    #[error("the signature does not verify under this mesh's key")]
    Forged,
    /// The signature is good, the content is not of the announced kind.
    #[error("signed bytes that are no valid statement: {0}")]
    Encoding(#[from] postcard::Error),
    /// Signed for another mesh.
    #[error("the statement was made for another mesh")]
    OtherMesh,
    /// A key that is no key.
    #[error("not an Ed25519 key")]
    Key,
}

/// The coordinator's private key.
pub struct SigningKey(Ed25519KeyPair);

/// The public half, which every node pins at enrolment.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingKey([u8; 32]);

/// A statement's bytes with the signature over them; not believed until [`Signed::open`] says so.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    bytes: Vec<u8>,
    signature: Vec<u8>,
    #[serde(skip)]
    kind: PhantomData<T>,
}

impl SigningKey {
    /// A fresh key, and its PKCS#8 bytes to keep.
    ///
    /// # Errors
    /// [`SignError::Key`] if the system gives no randomness.
    pub fn generate() -> Result<(Self, Vec<u8>), SignError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SignError::Key)?;
        let bytes = pair.to_pkcs8().map_err(|_| SignError::Key)?.as_ref().to_vec();
        Ok((Self(pair), bytes))
    }

    /// Reads PKCS#8 bytes.
    ///
    /// # Errors
    /// [`SignError::Key`] if they are not an Ed25519 key pair.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SignError> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|_| SignError::Key)
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        VerifyingKey(key)
    }

    /// A secret for another purpose, the same for the life of the key. Ed25519 signatures are deterministic (RFC 8032),
    /// and nobody else can make this one, whose domain no statement has.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let signature = self.0.sign(format!("derive {purpose}").as_bytes());
        *Digest::of(signature.as_ref()).as_bytes()
    }

    /// Signs bytes that already are the encoding of a `T`.
    pub fn sign_encoded<T: Statement>(&self, bytes: Vec<u8>) -> Signed<T> {
        let signature = self.0.sign(&message::<T>(&bytes)).as_ref().to_vec();
        Signed { bytes, signature, kind: PhantomData }
    }

    /// Encodes and signs a statement.
    ///
    /// # Errors
    /// [`SignError::Encoding`] if it cannot be encoded.
    pub fn sign<T: Statement>(&self, statement: &T) -> Result<Signed<T>, SignError> {
        Ok(self.sign_encoded(postcard::to_stdvec(statement)?))
    }
}

impl VerifyingKey {
    /// The mesh that this key speaks for.
    pub fn mesh(&self) -> MeshId {
        MeshId::of_key(&self.0)
    }

    /// Reads 64 hex digits, as written by `Display`.
    ///
    /// # Errors
    /// [`SignError::Key`] if they are not that.
    pub fn from_hex(text: &str) -> Result<Self, SignError> {
        decode_hex(text.trim()).map(Self).ok_or(SignError::Key)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::digest::encode_hex(&self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: Statement> Signed<T> {
    /// The statement, if the key signed it for its mesh.
    ///
    /// # Errors
    /// [`SignError`] otherwise.
    pub fn open(&self, key: &VerifyingKey) -> Result<T, SignError> {
        self.verify(key)?;
        let (statement, rest) = postcard::take_from_bytes::<T>(&self.bytes)?;
        if !rest.is_empty() {
            return Err(SignError::Encoding(postcard::Error::SerdeDeCustom));
        }
        if statement.mesh() == key.mesh() { Ok(statement) } else { Err(SignError::OtherMesh) }
    }

    /// Checks the signature without reading the statement.
    ///
    /// # Errors
    /// [`SignError::Forged`].
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), SignError> {
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(&message::<T>(&self.bytes), &self.signature)
            .map_err(|_| SignError::Forged)
    }

    /// What came as a statement and its signature.
    pub fn from_parts(bytes: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { bytes, signature, kind: PhantomData }
    }

    /// The signed bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 64 bytes of the signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({:?})", Digest::of(&self.bytes))
    }
}

/// What Ed25519 signs: the kind, a zero byte, and the BLAKE3 of the statement.
fn message<T: Statement>(bytes: &[u8]) -> Vec<u8> {
    let mut message = T::DOMAIN.as_bytes().to_vec();
    message.push(0);
    message.extend_from_slice(Digest::of(bytes).as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Word(MeshId, u8);
    impl Statement for Word {
        const DOMAIN: &'static str = "word";
        fn mesh(&self) -> MeshId {
            self.0
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Other(MeshId, u8);
    impl Statement for Other {
        const DOMAIN: &'static str = "other";
        fn mesh(&self) -> MeshId {
            self.0
        }
    }

    #[test]
    fn only_the_key_of_the_mesh_is_believed() {
        let (key, pkcs8) = SigningKey::generate().unwrap();
        let public = key.verifying_key();
        let signed = SigningKey::from_pkcs8(&pkcs8).unwrap().sign(&Word(public.mesh(), 5)).unwrap();
        assert_eq!(signed.open(&public), Ok(Word(public.mesh(), 5)));

        let mut bent = signed.clone();
        bent.bytes[16] ^= 1;
        assert_eq!(bent.open(&public), Err(SignError::Forged));

        let passed_off = Signed::<Other> { bytes: signed.bytes, signature: signed.signature, kind: PhantomData };
        assert_eq!(passed_off.open(&public), Err(SignError::Forged));

        let stranger = SigningKey::generate().unwrap().0;
        assert_eq!(stranger.sign(&Word(public.mesh(), 5)).unwrap().open(&public), Err(SignError::Forged));
        let abroad = key.sign(&Word(stranger.verifying_key().mesh(), 5)).unwrap();
        assert_eq!(abroad.open(&public), Err(SignError::OtherMesh));
    }

    #[test]
    fn keys_as_text() {
        let public = SigningKey::generate().unwrap().0.verifying_key();
        assert_eq!(VerifyingKey::from_hex(&public.to_string()), Ok(public));
        assert_eq!(VerifyingKey::from_hex("00"), Err(SignError::Key));
    }
}
