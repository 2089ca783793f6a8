//! The label of a cut: the minute it was taken, as the institute writes it in the package's name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `YYYYMMDD_HHMM`, a valid minute of the civil calendar. Later cuts compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CutLabel {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
}

/// Why a text is not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is a date and a minute written YYYYMMDD_HHMM, such as 20210606_2240")]
pub struct LabelError;

/// The number of characters in a label.
const LENGTH: usize = 13;

impl CutLabel {
    /// The first label in a file name such as `20210606_2240_PREP_CAMP.zip`.
    pub fn in_file_name(name: &str) -> Option<Self> {
        (0..name.len()).find_map(|start| {
            let before = name.get(..start)?.bytes().next_back();
            let candidate = name.get(start..start + LENGTH)?;
            let after = name.get(start + LENGTH..)?.bytes().next();
            let digit = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_digit());
            if digit(before) || digit(after) { None } else { candidate.parse().ok() }
        })
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

impl FromStr for CutLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let part = |range: std::ops::Range<usize>| {
            let digits = text.get(range).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<u16>().ok()
        };
        let small = |range| part(range).and_then(|n| u8::try_from(n).ok()).ok_or(LabelError);
        if text.len() != LENGTH || text.get(8..9) != Some("_") {
            return Err(LabelError);
        }
        let label = Self {
            year: part(0..4).ok_or(LabelError)?,
            month: small(4..6)?,
            day: small(6..8)?,
            hour: small(9..11)?,
            minute: small(11..13)?,
        };
        let valid = (1970..=9999).contains(&label.year)
            && (1..=12).contains(&label.month)
            && (1..=days_in(label.year, label.month)).contains(&label.day)
            && label.hour < 24
            && label.minute < 60;
        if valid { Ok(label) } else { Err(LabelError) }
    }
}

impl TryFrom<String> for CutLabel {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<CutLabel> for String {
    fn from(label: CutLabel) -> Self {
        label.to_string()
    }
}

impl fmt::Display for CutLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute } = self;
        write!(f, "{year:04}{month:02}{day:02}_{hour:02}{minute:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_orders() {
        let label: CutLabel = "20210606_2240".parse().unwrap();
        assert_eq!(label.to_string(), "20210606_2240");
        assert!(label < "20210607_0000".parse().unwrap());
        assert!("20240229_0000".parse::<CutLabel>().is_ok());
    }

    #[test]
    fn refuses_what_no_clock_shows() {
        for text in [
            "",
            "20210606-2240",
            "20211306_2240",
            "20210631_0000",
            "20230229_0000",
            "20210606_2460",
            "2021060x_2240",
            "+0210606_2240",
        ] {
            assert_eq!(text.parse::<CutLabel>(), Err(LabelError), "{text}");
        }
    }

    #[test]
    fn finds_itself_in_file_names() {
        let label = |name| CutLabel::in_file_name(name).map(|l| l.to_string());
        assert_eq!(label("20210606_2240_PREP_CAMP.zip").as_deref(), Some("20210606_2240"));
        assert_eq!(label("PREP-20180708_2130.zip").as_deref(), Some("20180708_2130"));
        assert_eq!(label("120180708_2130.zip"), None);
        assert_eq!(label("ñ20180708_2130.zip").as_deref(), Some("20180708_2130"));
        assert_eq!(label("results.zip"), None);
    }
}
