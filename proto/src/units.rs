//! Sizes and durations as people write them in configurations and on command lines: `256 MiB`, `1.5 GB`, `250 ms`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: write a number and one of {units}")]
pub struct UnitError {
    text: String,
    kind: &'static str,
    units: &'static str,
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $kind:literal, $units:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub $inner);

        impl TryFrom<String> for $name {
            type Error = UnitError;

            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(quantity: $name) -> Self {
                quantity.to_string()
            }
        }

        impl $name {
            fn error(text: &str) -> UnitError {
                UnitError { text: text.into(), kind: $kind, units: $units }
            }
        }
    };
}

quantity! {
    /// A number of bytes.
    Bytes(u64), "size", "B, kB, MB, GB, KiB, MiB, GiB"
}

quantity! {
    /// A span of time.
    Span(Duration), "duration", "ms, s, m, h, d"
}

/// A non-negative decimal number and the unit behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| Self::error(text))?;
        let scale: u64 = match unit {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(Self::error(text)),
        };
        #[expect(clippy::cast_precision_loss, reason = "scales are far below 2^53")]
        let bytes = number * scale as f64;
        // The largest integer below which every integer is a float.
        if bytes > 9e15 {
            return Err(Self::error(text));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded just above, never negative"
        )]
        let bytes = bytes.round() as u64;
        Ok(Self(bytes))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| Self::error(text))?;
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(Self::error(text)),
        };
        Duration::try_from_secs_f64(number * scale).map(Self).map_err(|_| Self::error(text))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{} {unit}", self.0 / scale);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        for (scale, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if ms >= scale && ms.is_multiple_of(scale) {
                return write!(f, "{} {unit}", ms / scale);
            }
        }
        write!(f, "{ms} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, bytes) in [("256 MiB", 256 << 20), ("1.5 GB", 1_500_000_000), ("0B", 0), ("10kB", 10_000)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
        }
        for (text, ms) in [("250 ms", 250), ("1.5s", 1_500), ("3 m", 180_000), ("2h", 7_200_000), ("1 d", 86_400_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))));
        }
        for text in ["256 MiB", "3 KiB", "7 B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["250 ms", "1500 ms", "3 m", "2 d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_number_needs_its_unit() {
        for text in ["", "5", "MiB", "-1 s", "1 parsec", "1e9 MB", "99999999 GiB", "1.2.3 s"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!("5".parse::<Span>().unwrap_err().to_string().contains("ms, s, m, h, d"));
    }
}
