//! The path of a file in the site, as the package names it and as the address of a request names it.
//!
//! A [`SitePath`] cannot climb, cannot be absolute, and has one spelling only: whoever holds one may join it to a
//! folder or look it up without checking again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_PATH_BYTES;

/// A relative path of segments joined by `/`, at most [`MAX_PATH_BYTES`] bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SitePath(Box<str>);

/// Why a name is not a path of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes, or an empty segment (`a//b`, `a/`).
    #[error("the path is empty or has an empty segment")]
    Empty,
    /// Starts with `/` or with a drive letter.
    #[error("the path is absolute")]
    Absolute,
    /// Has a `.` or `..` segment.
    #[error("the path has a `.` or `..` segment")]
    Traversal,
    /// Has a backslash, a NUL or a control character, which file systems and browsers read in different ways.
    #[error("the path has a backslash or a control character")]
    Character,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    Long,
}

impl SitePath {
    /// The path as text, without a leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `.` of the last segment, if any.
    pub fn extension(&self) -> Option<&str> {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map(|(_, extension)| extension)
    }
}

impl TryFrom<&str> for SitePath {
    type Error = PathError;

    fn try_from(text: &str) -> Result<Self, PathError> {
        let drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
        if text.starts_with('/') || text.starts_with('\\') || drive {
            return Err(PathError::Absolute);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::Long);
        }
        for segment in text.split(['/', '\\']) {
            match segment {
                "." | ".." => return Err(PathError::Traversal),
                "" => return Err(PathError::Empty),
                _ => {}
            }
        }
        if text.chars().any(|c| c == '\\' || c.is_control()) {
            return Err(PathError::Character);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for SitePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::try_from(text.as_str())
    }
}

impl From<SitePath> for String {
    fn from(path: SitePath) -> Self {
        path.0.into()
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_real_packages_hold() {
        for path in ["index.html", "assets/JSON/PRESIDENTE/NACIONAL/Presidente_NACIONAL.json", "año/ñ.csv", "..a/b.."]
        {
            assert_eq!(SitePath::try_from(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn refuses_by_name() {
        for (path, error) in [
            ("", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("C:\\win", PathError::Absolute),
            ("\\\\host\\share", PathError::Absolute),
            ("../x", PathError::Traversal),
            ("a/../../b", PathError::Traversal),
            ("..\\x", PathError::Traversal),
            ("a/./b", PathError::Traversal),
            ("a\\b", PathError::Character),
            ("a\0b", PathError::Character),
            ("a\nb", PathError::Character),
        ] {
            assert_eq!(SitePath::try_from(path), Err(error), "{path:?}");
        }
        assert_eq!(SitePath::try_from("x".repeat(MAX_PATH_BYTES + 1).as_str()), Err(PathError::Long));
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below_its_folder(text in "[a./\\\\:\u{0}-\u{7f}]{0,24}") {
            if let Ok(path) = SitePath::try_from(text.as_str()) {
                let joined = std::path::Path::new("/root").join(path.as_str());
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
                prop_assert!(joined.starts_with("/root") && joined != std::path::Path::new("/root"));
            }
        }
    }
}
