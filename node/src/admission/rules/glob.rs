//! Patterns for paths and for values of fields.
//!
//! `*` stands for any bytes but a slash, `**` for any bytes, `?` for one byte that is no slash; in values `*` and `?` stand
//! for slashes, too. `\` takes what follows it as it is. A pattern is about the whole, not about a part of it.
//!
//! What is compared comes from attackers. So the usual patterns (a text, a beginning, an end) are compared as such, and
//! all others by a machine that reads each byte once, in all the places of the pattern at once: one bit for each place.
//! Neither the pattern nor the text can make it take longer than the bytes of the text.

use std::fmt;

/// Places of a pattern that needs the machine: the bits of a word, but the one that says that all was read.
const MAX_PLACES: usize = 127;

/// Longest pattern. The longest address of a site is about as long.
const MAX_LENGTH: usize = 1024;

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Paths: slashes matter, and so does case.
    Path,
    /// Values of fields, byte by byte.
    Value,
    /// The same, whatever the case of ASCII letters.
    AnyCase,
}

/// A pattern.
#[derive(Clone)]
pub struct Glob {
    text: Box<str>,
    of: Of,
    kind: Kind,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It cannot match.
    #[error("`{0}`: paths begin with a slash, so write \"/{0}\", or \"**{0}\" for any folder")]
    NoSlash(String),
    /// It would never match what it means.
    #[error("`{0}`: paths are compared as they read, so write what `%XX` stands for")]
    Encoded(String),
    /// It is too long.
    #[error("a pattern of {0} places: at most {MAX_PLACES} with stars and question marks inside, {MAX_LENGTH} else")]
    Long(usize),
    /// Nothing stands behind the last backslash.
    #[error("`{0}`: a backslash takes what follows it as it is, so write `\\\\` for itself")]
    Backslash(String),
}

#[derive(Clone)]
enum Kind {
    Any,
    Exact(Box<[u8]>),
    Begins(Box<[u8]>),
    Ends(Box<[u8]>),
    Machine(Box<Machine>),
}

/// A place of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Byte(u8),
    One,
    Star,
    Stars,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn new(text: &str, of: Of) -> Result<Self, GlobError> {
        if of == Of::Path {
            if !text.starts_with('/') && !text.starts_with("**") {
                return Err(GlobError::NoSlash(text.into()));
            }
            let is_hex = |pair: &[u8]| pair.iter().all(u8::is_ascii_hexdigit);
            if text.as_bytes().windows(3).any(|part| matches!(part, [b'%', pair @ ..] if is_hex(pair))) {
                return Err(GlobError::Encoded(text.into()));
            }
        }
        let mut places = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let star = if of == Of::Path { Place::Star } else { Place::Stars };
            let place = match byte {
                b'*' => star,
                b'?' => Place::One,
                b'\\' => Place::Byte(bytes.next().ok_or_else(|| GlobError::Backslash(text.into()))?),
                byte => Place::Byte(byte),
            };
            match places.last_mut() {
                Some(last @ (Place::Star | Place::Stars)) if place == star => *last = Place::Stars,
                _ => places.push(place),
            }
        }
        let bytes = |places: &[Place]| {
            let byte = |place: &Place| if let Place::Byte(byte) = place { Some(*byte) } else { None };
            places.iter().map(byte).collect::<Option<Box<[u8]>>>()
        };
        let kind = match &*places {
            [Place::Stars] => Kind::Any,
            [rest @ .., Place::Stars] if let Some(rest) = bytes(rest) => Kind::Begins(rest),
            [Place::Stars, rest @ ..] if let Some(rest) = bytes(rest) => Kind::Ends(rest),
            all => match bytes(all) {
                Some(all) => Kind::Exact(all),
                None if all.len() <= MAX_PLACES => Kind::Machine(Box::new(Machine::new(all, of))),
                None => return Err(GlobError::Long(all.len())),
            },
        };
        if places.len() > MAX_LENGTH {
            return Err(GlobError::Long(places.len()));
        }
        Ok(Self { text: text.into(), of, kind })
    }

    /// True if it is about the whole of `text`.
    pub fn matches(&self, text: &[u8]) -> bool {
        let same = |one: &[u8], other: &[u8]| match self.of {
            Of::AnyCase => one.eq_ignore_ascii_case(other),
            Of::Path | Of::Value => one == other,
        };
        match &self.kind {
            Kind::Any => true,
            Kind::Exact(all) => same(text, all),
            Kind::Begins(first) => text.get(..first.len()).is_some_and(|text| same(text, first)),
            Kind::Ends(last) => {
                let from = text.len().checked_sub(last.len());
                from.and_then(|from| text.get(from..)).is_some_and(|text| same(text, last))
            }
            Kind::Machine(machine) => machine.matches(text),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?}, {:?})", self.text, self.of)
    }
}

/// All places of a pattern, a bit for each: bit `n` of a state says that what was read fits what stands before place `n`.
#[derive(Clone)]
struct Machine {
    /// For each byte, the places that are left behind by reading it.
    leaves: [u128; 256],
    /// Stars, which are left without reading anything.
    stars: u128,
    /// Those of them that read a slash, too.
    slash: u128,
    /// Everything was read.
    end: u128,
}

impl Machine {
    /// No star follows another in `places`, and there is a bit for each.
    fn new(places: &[Place], of: Of) -> Self {
        let mut machine = Self { leaves: [0; 256], stars: 0, slash: 0, end: 1 << places.len().min(MAX_PLACES) };
        for (number, place) in places.iter().enumerate().take(MAX_PLACES) {
            let bit = 1 << number;
            let mut read = |wanted: &dyn Fn(u8) -> bool| {
                let bytes = (0..=u8::MAX).zip(&mut machine.leaves);
                bytes.filter(|(byte, _)| wanted(*byte)).for_each(|(_, leaves)| *leaves |= bit);
            };
            match *place {
                Place::Byte(own) if of == Of::AnyCase => read(&|byte| byte.eq_ignore_ascii_case(&own)),
                Place::Byte(own) => read(&|byte| byte == own),
                Place::One => read(&|byte| of != Of::Path || byte != b'/'),
                Place::Star => machine.stars |= bit,
                Place::Stars => {
                    machine.stars |= bit;
                    machine.slash |= bit;
                }
            }
        }
        machine
    }

    fn matches(&self, text: &[u8]) -> bool {
        let skip = |state: u128| state | (state & self.stars) << 1;
        let mut state = skip(1);
        for byte in text {
            let stays = if *byte == b'/' { self.slash } else { self.stars };
            let leaves = self.leaves.get(usize::from(*byte)).copied().unwrap_or_default();
            state = skip((state & leaves) << 1 | state & stays);
            if state == 0 {
                return false;
            }
        }
        state & self.end != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str, of: Of) -> Glob {
        Glob::new(text, of).unwrap()
    }

    #[test]
    fn stars_and_slashes() {
        for (pattern, path, is_match) in [
            ("/x.csv", "/x.csv", true),
            ("/x.csv", "/x.csv2", false),
            ("/*.csv", "/x.csv", true),
            ("/*.csv", "/.csv", true),
            ("/*.csv", "/a/x.csv", false),
            ("/**.csv", "/a/x.csv", true),
            ("**.csv", "/a/x.csv", true),
            ("**/x.csv", "/x.csv", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c/**/e", "/a/b/c/d/d/e", true),
            ("/a/*/c/**/e", "/a/b/b/c/d/e", false),
            ("/?.csv", "/x.csv", true),
            ("/a?b", "/a/b", false),
            ("/***", "/a/b", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
            ("/A", "/a", false),
            ("**", "", true),
            // Two stars where only the second can read a slash: the first must not have taken too much.
            ("/a*b**c", "/ab/bc", true),
            ("/*a/**a", "/aa/ba/a", true),
        ] {
            assert_eq!(glob(pattern, Of::Path).matches(path.as_bytes()), is_match, "{pattern} {path}");
        }
        for (pattern, value, is_match) in [
            ("*bot*", "Googlebot/2.1", true),
            ("*BOT*", "a/b robots", true),
            ("curl/*", "CURL/8.1", true),
            ("curl/?", "curl/8", true),
            ("curl", "curl/8", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, Of::AnyCase).matches(value.as_bytes()), is_match, "{pattern} {value}");
        }
        assert!(!glob("*bot*", Of::Value).matches(b"a BOT"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |text: &str| Glob::new(text, Of::Path).unwrap_err().to_string();
        assert!(refused("x.csv").contains("\"/x.csv\""));
        assert!(refused("*.csv").contains("\"***.csv\"") || refused("*.csv").contains("/*.csv"));
        assert!(refused("/a%20b").contains("%XX"));
        assert!(refused("/a\\").contains("backslash"));
        assert!(refused(&format!("/*{}", "a".repeat(126))).contains("128 places"));
        assert!(refused(&"/".repeat(1025)).contains("1025 places"));
        let longest = format!("/*{}", "a".repeat(125));
        assert!(glob(&longest, Of::Path).matches(format!("/x{}", "a".repeat(125)).as_bytes()));
        assert!(!glob(&longest, Of::Path).matches(format!("/x{}", "a".repeat(124)).as_bytes()));
    }

    /// The same by trying everything.
    fn naive(pattern: &[u8], text: &[u8], of: Of) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => {
                let is_double = rest.first() == Some(&b'*');
                let rest = &pattern[pattern.iter().take_while(|byte| **byte == b'*').count()..];
                let most = if is_double || of != Of::Path {
                    text.len()
                } else {
                    text.iter().position(|byte| *byte == b'/').unwrap_or(text.len())
                };
                (0..=most).any(|taken| naive(rest, &text[taken..], of))
            }
            [b'?', rest @ ..] => text
                .split_first()
                .is_some_and(|(byte, text)| (of != Of::Path || *byte != b'/') && naive(rest, text, of)),
            [own, rest @ ..] => text.split_first().is_some_and(|(byte, text)| {
                (byte == own || of == Of::AnyCase && byte.eq_ignore_ascii_case(own)) && naive(rest, text, of)
            }),
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_trying_everything_finds(
            pattern in "[/*?abA]{0,12}",
            text in "[/abA]{0,12}",
            of in prop::sample::select(vec![Of::Path, Of::Value, Of::AnyCase]),
        ) {
            let pattern = if of == Of::Path { format!("/{pattern}") } else { pattern };
            let text = if of == Of::Path { format!("/{text}") } else { text };
            let found = glob(&pattern, of).matches(text.as_bytes());
            prop_assert_eq!(found, naive(pattern.as_bytes(), text.as_bytes(), of), "{} {}", pattern, text);
        }

        #[test]
        fn arbitrary_patterns_never_panic(pattern in ".{0,200}", text in prop::collection::vec(any::<u8>(), 0..300)) {
            for of in [Of::Path, Of::Value, Of::AnyCase] {
                if let Ok(glob) = Glob::new(&pattern, of) {
                    glob.matches(&text);
                }
            }
        }
    }
}
