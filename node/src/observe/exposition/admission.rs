//! The metrics of who is let in, and of what is given up.

use std::fmt;

use super::{Page, Scrape};
use crate::observe::Snapshot;

impl Scrape {
    pub(super) fn admission(&self, page: &mut Page<'_>) -> fmt::Result {
        let Snapshot { bans, banned, places, .. } = &self.snapshot;
        page.counters(
            "difusor_bans",
            "Times that a source or a network was banned for a while, by what for",
            bans.iter().map(|(offence, n)| ([("offence", *offence)], *n)),
        )?;
        page.gauge("difusor_banned", None, "Sources and networks that are banned now", *banned)?;
        let Some((places, taken, level)) = places else { return Ok(()) };
        page.gauge("difusor_downloads_places", None, "Downloads that may be under way at once", *places)?;
        page.gauge("difusor_downloads", None, "Downloads under way", *taken)?;
        let help = "What is given up when there is too much to do: 1 downloads and assets, 2 new connections as well";
        page.gauge("difusor_shedding_level", None, help, *level)
    }
}
