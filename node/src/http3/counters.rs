//! What happened on the HTTP/3 side, in numbers. Owns no decisions: whoever shows metrics reads it.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start. Each only grows, and they are read one by one: sums of them may be off by what
        /// happened in between.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Name and value of each.
            pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections whose handshake was finished.
    connections,
    /// Connections that were not let in: no room, or the node is about to stop.
    refused,
    /// Connections that were closed after the handshake: their source, or the network of that, held its share.
    crowded,
    /// Connections that were not let in, or closed: their source, or the network of that, is banned.
    banned,
    /// Connections that were not let in, or closed after the handshake: their source opens them faster than it may.
    hasty,
    /// Clients that were asked to prove their address first.
    retries,
    /// Handshakes that failed, or were not finished in time.
    handshake_failures,
    /// Connections that ended because the client broke the protocol, or was beyond a limit.
    violations,
    /// Connections that ended because the client asked for nothing, or took nothing, for too long.
    silent,
    /// Requests, refused ones included.
    requests,
    /// Requests that were not taken: too many were under way, of all or of their source.
    rejected,
    /// Requests whose head did not come in time.
    overdue,
    /// Answers that the client did not want any more: it said so, or closed the connection.
    resets,
    /// Answers that were not delivered to their end for any other reason.
    cut_off,
}

/// Adds one. Nothing is ordered by it.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
