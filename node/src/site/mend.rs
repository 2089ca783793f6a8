//! The same snapshot after the disk has spoiled some of its files: on bytes that are whole, wherever they lie now.
//!
//! A file whose bytes are nowhere is withheld: its address answers that it is on its way, since wrong bytes would pass for
//! results, and a page that is not there would pass for one that the cut does not have. All other files are as before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use difusor_proto::{Digest, store::Store};

use super::{Entity, Route, Site, SiteError};
use crate::shelf::Forms;

/// The forms of the files in question; `None` for those that are nowhere.
type Mended = HashMap<Digest, Option<Arc<Forms>>>;

impl Site {
    /// The snapshot with the files of these digests, of this cut and of those before, on what is in the store now. `None`
    /// if it has none of them. Blocks: compares every byte of them.
    ///
    /// # Errors
    /// [`SiteError`]; which of them are whole is not known then.
    pub fn mended(&self, store: &Store, digests: &HashSet<Digest>) -> Result<Option<Self>, SiteError> {
        let mut mended = Mended::new();
        let own = self.routes.values();
        for route in own.chain(self.past.values().map(|(route, _)| route)) {
            if let Route::File(entity) | Route::Withheld(entity) = route
                && digests.contains(&entity.digest)
                && !mended.contains_key(&entity.digest)
            {
                let forms = entity.forms.mended(store, &entity.digest)?;
                mended.insert(entity.digest, forms.map(Arc::new));
            }
        }
        if mended.is_empty() {
            return Ok(None);
        }
        let mut routes = self.routes.clone();
        let mut past = self.past.clone();
        let all = routes.values_mut().chain(past.values_mut().map(|(route, _)| route));
        all.for_each(|route| replace(route, &mended));
        let nowhere = mended.iter().filter(|(_, forms)| forms.is_none()).map(|(digest, _)| *digest).collect();
        let forms = mended.into_iter().filter_map(|(digest, forms)| Some((digest, forms?))).collect();
        Ok(Some(Self {
            about: Arc::clone(&self.about),
            signed: Arc::clone(&self.signed),
            routes,
            past,
            cuts: self.cuts.clone(),
            shelf: self.shelf.with(forms).without(&nowhere),
            // Codings that were made from mapped bytes are made again.
            is_finished: false,
            knows_past: self.knows_past,
        }))
    }

    /// What of the files of these digests lies in memory.
    pub(crate) fn in_memory(&self, digest: &Digest) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        self.shelf.get(digest).map(|forms| forms.in_memory()).unwrap_or_default()
    }

    /// True if no file of this cut is withheld.
    pub fn is_whole(&self) -> bool {
        !self.routes.values().any(|route| matches!(route, Route::Withheld(_)))
    }

    /// Digests of the files of this cut and of those before that are withheld.
    pub fn withheld(&self) -> HashSet<Digest> {
        let all = self.routes.values().chain(self.past.values().map(|(route, _)| route));
        let withheld = all.filter_map(|route| match route {
            Route::Withheld(entity) => Some(entity.digest),
            _ => None,
        });
        withheld.collect()
    }
}

fn replace(route: &mut Route, mended: &Mended) {
    let (Route::File(entity) | Route::Withheld(entity)) = &*route else { return };
    match mended.get(&entity.digest) {
        None => {}
        Some(Some(forms)) => {
            *route = Route::File(Arc::new(Entity { forms: Arc::clone(forms), ..Entity::clone(entity) }));
        }
        Some(None) => *route = Route::Withheld(Arc::clone(entity)),
    }
}
