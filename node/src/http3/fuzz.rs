//! What reads bytes of clients over HTTP/3, for [`crate::fuzz`].

use bytes::Bytes;

use super::{
    aside::{Aside, Flow, Opened},
    limits::FIELD_SECTION,
    opening::Opening,
    qpack::{Section, Size},
};

/// The stream of a request: how its bytes come in does not matter.
pub(crate) fn request(bytes: &[u8]) {
    let section = |piece: usize| {
        let mut opening = Opening::default();
        for piece in bytes.chunks(piece.max(1)) {
            match opening.feed(Bytes::copy_from_slice(piece)) {
                Ok(None) => {}
                Ok(Some(opened)) => return Ok(Some(opened.section)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    };
    let whole = section(bytes.len());
    assert_eq!(section(1), whole);
    if let Ok(Some(section)) = whole {
        let mut fields = Section::default();
        if fields.decode(&section, FIELD_SECTION) == Ok(Size::Within) {
            crate::fuzz::fields(|| fields.lines());
        }
    }
}

/// A stream beside the requests: the same.
pub(crate) fn aside(bytes: &[u8]) {
    let read = |piece: usize| {
        let (mut aside, mut opened, mut updates) = (Aside::default(), Opened::default(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            match aside.feed(piece, &mut opened, &mut |update| updates.push(update)) {
                Ok(Flow::On) => {}
                Ok(Flow::Stop) => return (updates, Ok(())),
                Err(code) => return (updates, Err(code)),
            }
        }
        (updates, aside.end())
    };
    assert_eq!(read(bytes.len()), read(1));
}
