//! The enrolment token: all that a new node is given.
//!
//! One line of text with the coordinator's addresses, the fingerprint of the mesh authority, and a secret that works
//! once. A checksum tells a token cut short by copy and paste from one that the coordinator refuses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, digest::decode_hex_vec, digest::encode_hex};

/// Marks the version of the format.
const PREFIX: &str = "difusor1-";

/// Bytes of the checksum.
const CHECK: usize = 4;

/// What a node needs to enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// `host:port` of the coordinator's mesh listener, in order of preference.
    pub addresses: Vec<String>,
    /// BLAKE3 of the authority's certificate (DER).
    pub authority: Digest,
    /// Known to the coordinator and to whoever holds the token.
    pub secret: [u8; 16],
}

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another kind of text.
    #[error("this is no enrolment token: one starts with `{PREFIX}`; make one with `difusor-coordinator invite`")]
    Kind,
    /// The checksum does not fit.
    #[error("the token is damaged or was cut short: copy the whole line that `difusor-coordinator invite` printed")]
    Damaged,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        let check = Digest::of(&bytes);
        bytes.extend(check.as_bytes().iter().take(CHECK));
        write!(f, "{PREFIX}{}", encode_hex(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let hex = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Kind)?;
        let bytes = decode_hex_vec(hex).ok_or(TokenError::Damaged)?;
        let split = bytes.len().checked_sub(CHECK).ok_or(TokenError::Damaged)?;
        let (body, check) = bytes.split_at_checked(split).ok_or(TokenError::Damaged)?;
        if !Digest::of(body).as_bytes().starts_with(check) {
            return Err(TokenError::Damaged);
        }
        postcard::from_bytes(body).map_err(|_| TokenError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_damage() {
        let token =
            Token { addresses: vec!["mesh.example.org:8440".into()], authority: Digest::of(b"ca"), secret: [7; 16] };
        let text = token.to_string();
        assert_eq!(format!("  {text}\n").parse(), Ok(token));
        assert_eq!(text[..text.len() - 2].parse::<Token>(), Err(TokenError::Damaged));
        assert_eq!(text[..text.len() - 1].parse::<Token>(), Err(TokenError::Damaged));
        assert_eq!("difusor1-".parse::<Token>(), Err(TokenError::Damaged));
        assert_eq!("hello".parse::<Token>(), Err(TokenError::Kind));
    }
}
