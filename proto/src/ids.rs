//! Who takes part: meshes, zones and nodes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, encode_hex};

/// Why a name is not one of a zone or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {MAX_NAME} characters from a-z, 0-9 and `-`, and starts and ends with a letter or digit")]
pub struct NameError;

/// A DNS label (RFC 1035 section 2.3.1) has at most this many octets, and names become DNS labels.
const MAX_NAME: usize = 63;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                let edges = !text.starts_with('-') && !text.ends_with('-');
                if plain && edges && (1..=MAX_NAME).contains(&text.len()) { Ok(Self(text.into())) } else { Err(NameError) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type! {
    /// A geographic region, such as `mx-central`.
    Zone
}

name_type! {
    /// One node of the mesh; unique in it, given at enrolment.
    NodeId
}

/// Which mesh a statement belongs to: derived from the key that signs it, so no two meshes share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MeshId([u8; 16]);

impl MeshId {
    /// The identity of the mesh whose statements verify under `public_key`.
    pub fn of_key(public_key: &[u8]) -> Self {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(Digest::of(public_key).as_bytes()) {
            *to = *from;
        }
        Self(id)
    }
}

impl fmt::Display for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        assert_eq!("mx-central".parse::<Zone>().unwrap().as_str(), "mx-central");
        for bad in ["", "-a", "a-", "Mx", "a.b", "ñ"] {
            assert_eq!(bad.parse::<NodeId>(), Err(NameError), "{bad}");
        }
        assert_eq!("a".repeat(64).parse::<Zone>(), Err(NameError));
    }
}
