//! A slow, long, lossy link for UDP, in user space.
//!
//! A [`Link`] listens on a loopback port and relays datagrams to a target and back, as a wide-area path would: at a
//! bit rate, behind a drop-tail queue, after a delay, with random loss. Each client address gets a socket of its own
//! towards the target, so that the target can tell clients apart; all clients share the link's rate and queue.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn main() -> std::io::Result<()> {
//! let spec = difusor_link::LinkSpec::wan(50_000_000, Duration::from_millis(150), 0.001);
//! let link = difusor_link::Link::between(spec, "127.0.0.1:4433".parse().unwrap())?;
//! // Dial link.addr() instead of the target.
//! link.down();
//! link.up();
//! println!("{:?}", link.counters());
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - datagrams are never altered, duplicated or reordered within a direction;
//! - which datagrams are lost depends on the seed and their order alone;
//! - memory is bounded by the queue, or by [`MAX_BACKLOG`] where the rate is unlimited.
//!
//! Not modelled: jitter, congestion marks (ECN bits are cleared), fragmentation.

mod lane;
mod prng;
mod relay;
mod spec;

pub use lane::Flow;
pub use relay::{Counters, Link, MAX_CLIENTS};
pub use spec::{HEADER, LinkSpec, MAX_BACKLOG};
