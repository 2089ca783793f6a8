//! The metrics of a zone on another server.

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::dns::update::keeper::UpdateView;

/// What becomes of it; nothing if none is kept right.
pub(super) fn write(page: &mut Page<'_>, view: Option<&UpdateView>) -> fmt::Result {
    let Some(UpdateView { is_writer, lag, outcomes }) = view else { return Ok(()) };
    page.counters(
        "difusor_dns_updates",
        "Times that a zone on another server was looked at or changed, by what became of it",
        outcomes.iter().map(|(outcome, n)| ([("outcome", *outcome)], *n)),
    )?;
    let help = "1 while it is this node that keeps the zone right";
    page.gauge("difusor_dns_update_writer", None, help, u32::from(*is_writer))?;
    let help = "For how long this node has known that the zone is not as it should be; 0 if it is, or another keeps it";
    page.gauge("difusor_dns_update_lag", Some(Unit::Seconds), help, lag.as_secs_f64())
}
