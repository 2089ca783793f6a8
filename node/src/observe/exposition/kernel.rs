//! The metrics of the block list in the kernel.

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::kernel::KernelView;

/// What the kernel does with offenders; `difusor_kernel_active` alone says that it does nothing.
pub(super) fn write(page: &mut Page<'_>, view: Option<KernelView>) -> fmt::Result {
    let help = "1 while offenders are given to the kernel";
    page.gauge("difusor_kernel_active", None, help, u32::from(view.is_some()))?;
    let Some(KernelView { entered, spared, no_room, failed, entries, packets, bytes }) = view else { return Ok(()) };
    page.gauge("difusor_kernel_entries", None, "Sources and networks that the kernel drops now", entries)?;
    let of = |outcome, n| ([("outcome", outcome)], n);
    page.counters(
        "difusor_kernel_orders",
        "What became of those who were to be entered: never blocked, no room in queue or sets, not taken and tried again",
        [of("entered", entered), of("spared", spared), of("no_room", no_room), of("failed", failed)],
    )?;
    page.counter("difusor_kernel_dropped_packets", None, "Packets that the kernel dropped", packets)?;
    let help = "Bytes of these packets";
    page.counter("difusor_kernel_dropped", Some(Unit::Bytes), help, bytes)
}
