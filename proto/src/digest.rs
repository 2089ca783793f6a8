//! Names of byte strings: BLAKE3 for everything inside the mesh, SHA-256 for the outside world.
//!
//! Both are 32 bytes, written as 64 lower-case hex digits for people and as raw bytes in binary encodings.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct DigestError;

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that some hash function gave.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                decode_hex(text).map(Self).ok_or(DigestError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 32]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

digest_type! {
    /// BLAKE3 of some bytes: the name of a blob, of a manifest (its root), of a package.
    Digest
}

digest_type! {
    /// SHA-256 of some bytes, the digest that anyone outside the mesh can check.
    Sha256
}

impl Digest {
    /// Hashes `bytes` on the calling thread.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes `bytes`, on all the cores of the pool if they are many.
    pub fn of_parallel(bytes: &[u8]) -> Self {
        // Below this the cost of waking other threads exceeds the hashing itself.
        const WORTH_SPLITTING: usize = 1 << 20;
        if bytes.len() < WORTH_SPLITTING {
            return Self::of(bytes);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_rayon(bytes);
        Self(*hasher.finalize().as_bytes())
    }
}

impl Sha256 {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Sha256Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// SHA-256 of bytes that arrive in pieces.
#[derive(Clone)]
pub struct Sha256Hasher(aws_lc_rs::digest::Context);

impl Default for Sha256Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256Hasher {
    /// An empty hash.
    pub fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Sha256 {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Sha256(out)
    }
}

/// Lower-case hex of any bytes.
pub fn encode_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that `text` spells in hex; `None` if its length is not `2 * N` or a digit is not hex.
pub fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_hex_vec(text)?.try_into().ok()
}

/// The bytes that `text` spells in hex, of any length.
pub fn decode_hex_vec(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: u8| (c as char).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut pairs = text.as_bytes().chunks_exact(2);
    let bytes = pairs.by_ref().map(|pair| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    });
    let bytes = bytes.collect::<Option<Vec<u8>>>()?;
    pairs.remainder().is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors() {
        assert_eq!(Sha256::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::of(b"").to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn parallel_hash_is_the_same_hash() {
        let bytes = vec![7; 3 << 20];
        assert_eq!(Digest::of_parallel(&bytes), Digest::of(&bytes));
    }

    #[test]
    fn text_round_trip_and_refusals() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("00".parse::<Digest>(), Err(DigestError));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(DigestError));
        assert_eq!(decode_hex_vec("abc"), None);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}
