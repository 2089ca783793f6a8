//! The key that updates are signed with, from a file in BIND's form, as `tsig-keygen` prints it.

use std::{fmt, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use hickory_proto::rr::{Name, rdata::tsig::TsigAlgorithm};

/// The least bytes of a secret: what is shorter can be found by trying.
const LEAST: usize = 16;

/// Bits of a file's mode that let others than its owner and group at it.
const OTHERS: u32 = 0o007;

/// The mode of a file that others than its owner and group may get at; none if they may not.
pub(crate) fn others_may_read(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & OTHERS != 0).then_some(mode))
}

/// A key that this node shares with a server.
#[derive(Clone)]
pub struct Key {
    /// What both call it.
    pub name: Name,
    /// What it is used with.
    pub algorithm: TsigAlgorithm,
    /// The secret.
    pub secret: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.name)
    }
}

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot be read: {0}; write what `tsig-keygen NAME` prints into it")]
    Unreadable(#[from] io::Error),
    /// Anybody on this machine could change the zone.
    #[error("everybody on this machine may read it (mode {0:o}): chmod 640, with the node as its owner or group")]
    Open(u32),
    /// It is not what it should be.
    #[error("{0}; write what `tsig-keygen NAME` prints: key \"NAME\" {{ algorithm hmac-sha256; secret \"…\"; }};")]
    Text(String),
}

impl Key {
    /// Reads a file that others may not read.
    ///
    /// # Errors
    /// [`KeyError`], which says what to do.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        if let Some(mode) = others_may_read(path)? {
            return Err(KeyError::Open(mode));
        }
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`KeyError::Text`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = |text: &str| KeyError::Text(text.to_owned());
        let words = words(text);
        let mut words = words.iter().map(String::as_str);
        if words.next() != Some("key") {
            return Err(wrong("it does not begin with `key`"));
        }
        let name = words.next().filter(|name| !matches!(*name, "{" | "}" | ";")).ok_or(wrong("the key has no name"))?;
        let named = Name::from_ascii(format!("{}.", name.trim_end_matches('.')));
        let name = named.map_err(|_| KeyError::Text(format!("`{name}` is no name for a key")))?.to_lowercase();
        if words.next() != Some("{") {
            return Err(wrong("there is no `{` after the key's name"));
        }
        let (mut algorithm, mut secret) = (None, None);
        loop {
            match words.next() {
                Some("}") => break,
                Some("algorithm") => algorithm = words.next(),
                Some("secret") => secret = words.next(),
                Some(other) => return Err(KeyError::Text(format!("`{other}` is neither `algorithm` nor `secret`"))),
                None => return Err(wrong("there is no `}` at its end")),
            }
            if words.next() != Some(";") {
                return Err(wrong("a `;` is missing"));
            }
        }
        if words.any(|word| word != ";") {
            return Err(wrong("there is more than one key in it"));
        }
        let algorithm = algorithm.ok_or(wrong("it has no algorithm"))?.to_ascii_lowercase();
        let (algorithm, hash) = match algorithm.as_str() {
            "hmac-sha256" => (TsigAlgorithm::HmacSha256, hmac::HMAC_SHA256),
            "hmac-sha512" => (TsigAlgorithm::HmacSha512, hmac::HMAC_SHA512),
            other => return Err(KeyError::Text(format!("the algorithm `{other}`: hmac-sha256 or hmac-sha512"))),
        };
        let secret = BASE64.decode(secret.ok_or(wrong("it has no secret"))?.as_bytes());
        let secret = secret.map_err(|_| wrong("the secret is not Base64"))?;
        if secret.len() < LEAST {
            return Err(KeyError::Text(format!("a secret of less than {LEAST} bytes")));
        }
        Ok(Self { name, algorithm, secret: hmac::Key::new(hash, &secret) })
    }
}

/// Words, braces and semicolons; without the lines that are comments, and without quotes.
fn words(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(['#', '/']));
    let mut words = vec![String::new()];
    let end = |letter: Option<char>, words: &mut Vec<String>| {
        words.extend(letter.map(String::from));
        words.push(String::new());
    };
    for letter in lines.flat_map(|line| line.chars().chain(['\n'])) {
        match letter {
            '{' | '}' | ';' => end(Some(letter), &mut words),
            letter if letter.is_whitespace() || letter == '"' => end(None, &mut words),
            letter => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str =
        "key \"difusor.\" {\n\talgorithm hmac-sha256;\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ubw//aaE=\";\n};\n";

    #[test]
    fn what_is_printed_is_read() {
        let key = Key::parse(PRINTED).unwrap();
        assert_eq!((key.name.to_string(), key.algorithm), ("difusor.".into(), TsigAlgorithm::HmacSha256));
        let text = format!("# of ours\n// too\n{}", PRINTED.replace("sha256", "SHA512").replace('\n', " "));
        assert_eq!(Key::parse(&text.replace('"', "")).unwrap().algorithm, TsigAlgorithm::HmacSha512);
        assert!(!format!("{:?}", Key::parse(PRINTED).unwrap()).contains("MDEy"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "begin"),
            ("key:\n  - id: difusor", "begin"),
            ("key { }", "no name"),
            ("key a..b { }", "`a..b`"),
            ("key a", "`{`"),
            ("key a { algorithm hmac-md5; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };", "hmac-md5"),
            ("key a { secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };", "no algorithm"),
            ("key a { algorithm hmac-sha256; };", "no secret"),
            ("key a { algorithm hmac-sha256; secret \"MDEy\"; };", "less than 16"),
            ("key a { algorithm hmac-sha256; secret \"MDE_\"; };", "Base64"),
            ("key a { algorithm hmac-sha256 secret \"MDEy\"; };", "`;`"),
            ("key a { algorithm hmac-sha256;", "`}`"),
            ("key a { server x; };", "`server`"),
            (&format!("{PRINTED}{PRINTED}"), "more than one"),
        ] {
            let said = Key::parse(text).unwrap_err().to_string();
            assert!(said.contains(part) && said.contains("tsig-keygen"), "{said}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("difusor.key");
        assert!(matches!(Key::read(&path), Err(KeyError::Unreadable(_))));
        fs::write(&path, PRINTED).unwrap();
        for (mode, is_fine) in [(0o644, false), (0o604, false), (0o640, true), (0o600, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match Key::read(&path) {
                Err(KeyError::Open(seen)) => assert!(seen == mode && !is_fine),
                read => assert!(is_fine && read.is_ok(), "{read:?}"),
            }
        }
    }
}
