//! What is done behind the flip, by one thread that gives way to all others.
//!
//! Codings of large files, digests of forms, and after a start the files of earlier cuts: everything that makes a
//! snapshot better and that no visitor has to wait for. A better snapshot takes the place of the served one only while
//! that is still of the same cut.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use difusor_proto::Digest;
use rustix::{process::setpriority_process, thread::gettid};

use super::{Gate, GateError};
use crate::{
    serving::PAGE_LIFE,
    site::{Site, SiteOptions},
};

/// From a flip to the work behind it: the first visitors of a cut come at once.
const PAUSE: Duration = Duration::from_secs(2);

/// The priority of the thread: whatever else wants a core goes first (setpriority(2)).
const LAST: i32 = 19;

/// Wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    /// Waits until it rings, at most so long.
    fn wait(&self, most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) =
            self.heard.wait_timeout_while(rung, most, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

impl Gate {
    /// Works until `stop`; [`Gate::wake_behind`] makes it look. Blocks: for a thread of its own.
    pub fn work_behind(&self, stop: &dyn Fn() -> bool) {
        if let Err(error) = setpriority_process(Some(gettid()), LAST) {
            tracing::debug!(%error, "the thread behind the flip keeps its priority");
        }
        let mut given_up = None;
        while !stop() {
            self.bell.wait(PAGE_LIFE);
            self.serving.forget();
            let Some(site) = self.serving.current().filter(|site| !site.is_finished()) else { continue };
            if given_up == Some(site.cut().root) {
                continue;
            }
            std::thread::sleep(PAUSE);
            match self.finish(&site, stop) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(seq = site.cut().seq, %error, "large files go on without further codings");
                    given_up = Some(site.cut().root);
                }
            }
        }
    }

    /// Makes the thread look whether there is something to be done.
    pub fn wake_behind(&self) {
        self.bell.ring();
    }

    fn finish(&self, site: &Arc<Site>, stop: &dyn Fn() -> bool) -> Result<(), GateError> {
        let root = site.cut().root;
        let stop = || stop() || self.serving.with(|shown| shown.is_none_or(|shown| shown.site.cut().root != root));
        if stop() {
            return Ok(());
        }
        let signed = self.store.manifest(&site.cut())?.ok_or(difusor_proto::store::StoreError::Missing(root))?;
        let manifest = signed.open(&self.key)?;
        // Staging has read all of it, and the cuts before are hardly read any more.
        self.relax();
        let site = if site.knows_past() {
            Arc::clone(site)
        } else {
            let known = Arc::new(site.with_past(self.older(root)?.as_ref(), &self.store, &self.options)?);
            if !self.serving.improve(site, Arc::clone(&known)) {
                return Ok(());
            }
            known
        };
        let better = site.finish(&self.store, &manifest, &self.options, stop)?;
        if self.serving.improve(&site, Arc::new(better)) {
            tracing::debug!(seq = site.cut().seq, "everything is coded");
        }
        // Coding has read all of the cut.
        self.relax();
        Ok(())
    }

    /// Lets mapped files go from this process's memory; what is asked for comes back from the page cache.
    fn relax(&self) {
        if let Err(error) = self.store.relax() {
            tracing::debug!(%error, "packs stay in memory");
        }
    }

    /// A snapshot that knows the cuts on disk that were served before this one: what a node that went on would remember.
    /// What else is complete on disk waits for its flip, or never gets one.
    fn older(&self, root: Digest) -> Result<Option<Site>, GateError> {
        let options = SiteOptions { hot_total: 0, coded: false, ..self.options.clone() };
        let held = self.store.cuts()?;
        let served = self.lock().served.clone();
        let cuts = served.iter().filter(|served| **served != root);
        let cuts: Vec<_> = cuts.filter_map(|served| held.iter().find(|cut| cut.root == *served)).collect();
        let from = cuts.len().saturating_sub(options.policy.keep);
        let mut older: Option<Site> = None;
        for cut in cuts.get(from..).unwrap_or_default() {
            let Some(signed) = self.store.manifest(cut)? else { continue };
            let manifest = signed.open(&self.key)?;
            match Site::build(&self.store, **cut, &signed, &manifest, &options, older.as_ref()) {
                Ok(site) => older = Some(site),
                // A cut of which something was lost is no loss to the one that is served.
                Err(error) => tracing::debug!(seq = cut.seq, %error, "an earlier cut is not addressable"),
            }
        }
        Ok(older)
    }
}
