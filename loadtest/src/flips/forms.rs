//! The forms that were seen: for each entity tag the bytes that came with it, and the file that they decode to.
//!
//! Every body is hashed, and decoded once for each tag. A strong tag promises equal bytes (RFC 9110 section 8.8.3), so
//! one that comes with other bytes is a fault of its own.

use std::{
    collections::HashMap,
    io::Read as _,
    sync::{Mutex, PoisonError},
};

use flate2::read::MultiGzDecoder;

use super::judge::{Fault, Kind};

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// By the value of `Content-Encoding`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The plain bytes, which should be `len`; `None` if these are not bytes of this coding.
    fn decode(self, body: &[u8], len: u64) -> Option<Vec<u8>> {
        // One more, so that a file that is too long is seen to be.
        let room = usize::try_from(len).ok()?.checked_add(1)?;
        let mut plain = Vec::with_capacity(room);
        match self {
            Self::Identity => plain.extend_from_slice(body),
            Self::Gzip => drop(MultiGzDecoder::new(body).read_to_end(&mut plain).ok()?),
            Self::Brotli => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut plain).ok()?),
            Self::Zstd => drop(zstd_safe::decompress(&mut plain, body).ok()?),
        }
        Some(plain)
    }
}

/// What a tag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) coding: Coding,
    /// Of the bytes that are sent.
    pub(super) len: u64,
    sent: blake3::Hash,
    /// Of the file that they decode to.
    pub(super) plain: blake3::Hash,
}

/// All that were seen, by tag.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<HashMap<String, Form>>);

impl Forms {
    /// What `tag` stands for, if it was seen.
    pub(super) fn get(&self, tag: &str) -> Option<Form> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tag).copied()
    }

    /// Takes in a whole body. `len` is how long the file is that it should be a form of.
    ///
    /// # Errors
    /// If the tag came with other bytes before, or the body cannot be decoded.
    pub(super) fn learn(&self, tag: &str, coding: Coding, body: &[u8], len: u64) -> Result<Form, Fault> {
        let sent = blake3::hash(body);
        if let Some(known) = self.get(tag) {
            if (known.coding, known.len, known.sent) == (coding, body.len() as u64, sent) {
                return Ok(known);
            }
            let was = format!("{} bytes of {}, BLAKE3 {}", known.len, known.coding.name(), known.sent);
            let is = format!("{} bytes of {}, BLAKE3 {sent}", body.len(), coding.name());
            return Err(Fault::new(Kind::Tag, format!("the bytes that {tag} had before: {was}"), is));
        }
        let plain = coding.decode(body, len).ok_or_else(|| {
            let got = format!("{} bytes that are not", body.len());
            Fault::new(Kind::Coding, format!("{} of a file of {len} bytes", coding.name()), got)
        })?;
        let form = Form { coding, len: body.len() as u64, sent, plain: blake3::hash(&plain) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.to_owned(), form);
        Ok(form)
    }

    /// How many there are of each coding.
    pub(super) fn count(&self, coding: Coding) -> usize {
        let forms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forms.values().filter(|form| form.coding == coding).count()
    }
}

/// `plain` in each coding, for tests.
#[cfg(test)]
pub(super) fn coded(plain: &[u8]) -> [(Coding, Vec<u8>); 4] {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 20);
    brotli.write_all(plain).unwrap();
    let mut zstd = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    zstd_safe::compress(&mut zstd, plain, 3).unwrap();
    [
        (Coding::Identity, plain.to_vec()),
        (Coding::Gzip, gzip.finish().unwrap()),
        (Coding::Brotli, brotli.into_inner()),
        (Coding::Zstd, zstd),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"the same words, the same words, and the same words again";

    #[test]
    fn every_coding_is_decoded() {
        let forms = Forms::default();
        for (coding, body) in coded(PLAIN) {
            let form = forms.learn(coding.name(), coding, &body, PLAIN.len() as u64).unwrap();
            assert_eq!((form.plain, form.len), (blake3::hash(PLAIN), body.len() as u64), "{coding:?}");
            assert_eq!(forms.get(coding.name()), Some(form));
            assert_eq!(forms.count(coding), 1);
            assert_eq!(Coding::named(coding.name()).unwrap_or(Coding::Identity), coding);
        }
    }

    #[test]
    fn a_tag_stands_for_one_body() {
        let forms = Forms::default();
        let [(_, plain), (_, gzip), ..] = coded(PLAIN);
        let len = PLAIN.len() as u64;
        forms.learn("tag", Coding::Identity, &plain, len).unwrap();
        assert!(forms.learn("tag", Coding::Identity, &plain, len).is_ok());
        for (coding, body) in [(Coding::Identity, &b"other"[..]), (Coding::Gzip, &gzip), (Coding::Gzip, &plain)] {
            assert_eq!(forms.learn("tag", coding, body, len).unwrap_err().kind, Kind::Tag, "{coding:?}");
        }
    }

    #[test]
    fn what_is_not_coded_as_it_says_is_a_fault() {
        for (coding, body) in coded(PLAIN).into_iter().skip(1) {
            for wrong in [&body[..body.len() - 3], PLAIN, b""] {
                let outcome = Forms::default().learn("tag", coding, wrong, PLAIN.len() as u64);
                // A stream of nothing may decode, but never to the file.
                assert!(outcome.is_err() || outcome.unwrap().plain != blake3::hash(PLAIN), "{coding:?}");
            }
        }
    }
}
