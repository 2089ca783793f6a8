//! The forms of one file of which the disk has spoiled something, taken from where it is whole now.
//!
//! What lies in memory was read before, and stays. What was mapped is mapped anew, and only after it was compared with the
//! file's digest; a coded form that was made from mapped bytes goes, as nobody knows which bytes those were.

use std::{collections::HashSet, sync::Arc};

use difusor_proto::{
    Digest, codec,
    store::{Form as AtRest, Store},
};

use super::{Form, Forms, Shelf};
use crate::{
    content::{Content, GZIP_FRAME, Place},
    negotiate::Coding,
    site::SiteError,
};

impl Forms {
    /// The same file without what was spoiled; `None` while its own bytes are nowhere.
    ///
    /// # Errors
    /// What the store gives.
    pub(crate) fn mended(&self, store: &Store, digest: &Digest) -> Result<Option<Self>, SiteError> {
        let in_memory = self.identity.content.place() == Place::Memory;
        let identity = if in_memory {
            self.identity.clone()
        } else {
            let Some(blob) = store.blob(digest, AtRest::Identity)? else { return Ok(None) };
            let whole = blob.len() == self.identity.content.len() && blob.is(digest).map_err(SiteError::Scratch)?;
            if !whole {
                return Ok(None);
            }
            Form { content: Content::plain(&blob).map_err(SiteError::Scratch)?, ..self.identity.clone() }
        };
        let mut coded = Vec::with_capacity(self.coded.len());
        for form in &self.coded {
            match form.content.place() {
                Place::Memory => coded.push(Arc::clone(form)),
                Place::Scratch if in_memory => coded.push(Arc::clone(form)),
                Place::Scratch => {}
                Place::Pack => coded.extend(gzip(store, digest, form, identity.content.len())?.map(Arc::new)),
            }
        }
        Ok(Some(Self::new(identity, coded)))
    }

    /// The file's own bytes and its deflate stream, as far as they lie in memory: sources that no disk can spoil.
    pub(crate) fn in_memory(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let in_memory = |form: &Form| {
            (form.content.place() == Place::Memory).then(|| {
                let pieces = form.content.pieces(0..form.content.len());
                pieces.fold(Vec::new(), |mut all, piece| {
                    all.extend_from_slice(&piece);
                    all
                })
            })
        };
        // In memory a gzip file is one piece; the stream is what is between its header and its trailer.
        let stream = self.get(Coding::Gzip).and_then(in_memory).and_then(|whole| {
            let len = usize::try_from(GZIP_FRAME).ok().and_then(|frame| whole.len().checked_sub(frame))?;
            whole.get(10..).and_then(|rest| rest.get(..len)).map(<[u8]>::to_vec)
        });
        (in_memory(&self.identity), stream)
    }
}

impl Shelf {
    /// The same shelf without the forms of these files.
    pub(crate) fn without(mut self, digests: &HashSet<Digest>) -> Self {
        self.forms.retain(|digest, _| !digests.contains(digest));
        self
    }
}

/// The gzip form around the deflate stream that is in the store now, if that is one of this file.
fn gzip(store: &Store, digest: &Digest, old: &Form, size: u64) -> Result<Option<Form>, SiteError> {
    let Some(blob) = store.blob(digest, AtRest::Deflate)? else { return Ok(None) };
    let stream = blob.read().map_err(SiteError::Scratch)?;
    if !codec::inflate(&stream, size).is_ok_and(|plain| Digest::of(&plain) == *digest) {
        return Ok(None);
    }
    let content = old.content.around(&blob).map_err(SiteError::Scratch)?;
    Ok(content.map(|content| Form::coded(*digest, Coding::Gzip, content, old.is_hashed)))
}
