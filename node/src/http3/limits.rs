//! What one client can cost over HTTP/3, and the transport parameters that follow from it (RFC 9000 section 18.2).
//!
//! Two kinds of bounds: fields of [`Http3Limits`], which a machine may need to change, and constants, which follow from
//! the protocol. Each says why it is what it is.

use std::{sync::Arc, time::Duration};

use difusor_proto::tls::Congestion;

/// Bytes of a field section as RFC 9114 section 4.2.2 counts them. Browsers stay below 8 KiB; cookies of other services
/// on a shared domain are the rest.
pub(super) const FIELD_SECTION: usize = 32 << 10;

/// Bytes that a client may send on one request stream up to the end of its head: a field section, and the reserved
/// frames that may come before it (RFC 9114 section 7.2.8).
pub(super) const HEAD_BYTES: usize = 48 << 10;

/// The same for all unfinished heads of a connection together: a hundred requests at once with a kilobyte each, which
/// is what browsers send.
pub(super) const HEADS_BYTES: usize = 128 << 10;

/// What an unread piece of a head costs beside its bytes, so that pieces of one byte are not cheap.
pub(super) const PIECE_COST: usize = 64;

/// Bytes that a client may say on its control streams: settings, and what it likes to reserve.
pub(super) const CONTROL_BYTES: usize = 64 << 10;

/// What each request adds to what is left of them: some PRIORITY_UPDATE frames (RFC 9218 section 7.2).
pub(super) const CONTROL_BYTES_OF_REQUEST: usize = 256;

/// Requests at once on one connection: RFC 9114 section 6.1 asks for no less.
pub(super) const STREAMS: u32 = 100;

/// Requests at once that each connection may have, whatever the others do: with their streams and tasks some 4 KiB each,
/// 128 MiB on all connections.
pub(super) const FREE_REQUESTS: usize = 4;

/// Requests that a place for more is for, and such places, on all connections: 128 MiB again. What one source may have of
/// them depends on what is left for the others; beyond it, a request may be asked again elsewhere.
pub(super) const REQUESTS_OF_PLACE: usize = 16;
pub(super) const PLACES: usize = 2048;

/// Streams of the client's own at once: control, two of QPACK, and reserved ones (RFC 9114 section 6.2.3).
const CONTROL_STREAMS: u32 = 8;

/// What a client may send ahead on one stream. A head is all that is read, so this is the most that an upload can have
/// under way before it is told to stop.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same on the whole connection.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Bytes of answers that wait for their acknowledgement: 220 Mbit/s at a round trip of 150 ms. They are shared with the
/// snapshot and not copied, so it bounds what a slow client can hold of an old one.
const SEND_WINDOW: u64 = 4 << 20;

/// Answers that a client may cancel beyond those that it took, before it is told to go (RFC 9114 section 10.5). Someone
/// who moves over a map cancels dozens.
pub(super) const CANCELLED: u32 = 500;

/// A body is handed over in pieces of this size, so that answers on one connection share its window.
pub(super) const PIECE: usize = 128 << 10;

/// Handshakes that may wait to be looked at. They wait for one turn of a loop, so this is a burst.
const INCOMING: usize = 1024;

/// Bytes of clients that came before their connection was looked at, for each and for all: two flights.
const INCOMING_BYTES: u64 = 32 << 10;
const INCOMING_BYTES_TOTAL: u64 = 8 << 20;

/// What one client can cost. Every bound has a default that fits the smallest machine (two cores, 2 GB).
#[derive(Debug, Clone, Copy)]
pub struct Http3Limits {
    /// Connections open at once, on all sockets, handshakes included. Idle ones cost some 58 KiB each: all of them half a
    /// gigabyte.
    pub connections: usize,
    /// Unfinished handshakes above which clients must prove that they are where they say (RFC 9000 section 8.1.2). The
    /// proof costs an honest client a round trip, and whoever forges addresses everything; below it, a forged address
    /// costs one signature each.
    pub unproven_handshakes: usize,
    /// From the first packet to the end of the handshake. Four round trips at the worst path reckoned with take one
    /// second.
    pub handshake: Duration,
    /// From the first packet to the first request. Browsers open connections ahead of need, and reopen them cheaply.
    pub first_request: Duration,
    /// From the first byte of a request to the end of its head, which fits in one or two packets.
    pub head: Duration,
    /// Without a request, or without any packet.
    pub idle: Duration,
    /// With requests, but without the client taking another byte of any answer.
    pub stall: Duration,
    /// How the sender reacts to loss. Loss-based for the public: it is what their other traffic does, and the
    /// model-based one loses much on short queues.
    pub congestion: Congestion,
}

impl Default for Http3Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            unproven_handshakes: 256,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(20),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(90),
            congestion: Congestion::Cubic,
        }
    }
}

impl Http3Limits {
    /// The transport parameters of every connection.
    fn transport(&self) -> quinn::TransportConfig {
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(STREAMS.into())
            .max_concurrent_uni_streams(CONTROL_STREAMS.into())
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(CONNECTION_WINDOW.into())
            .send_window(SEND_WINDOW)
            .max_idle_timeout(quinn::IdleTimeout::try_from(self.idle).ok())
            // Whoever wants an idle connection to live says so: a server that does keeps all of them.
            .keep_alive_interval(None)
            .datagram_receive_buffer_size(None)
            // What leaves at once is sliced by the kernel or the card (GSO), and packets grow to what the path takes
            // (RFC 8899). Both are defaults; both decide the throughput.
            .enable_segmentation_offload(true)
            .mtu_discovery_config(Some(quinn::MtuDiscoveryConfig::default()));
        match self.congestion {
            Congestion::Bbr => {
                transport.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()))
            }
            Congestion::Cubic => {
                transport.congestion_controller_factory(Arc::new(quinn::congestion::CubicConfig::default()))
            }
            Congestion::NewReno => {
                transport.congestion_controller_factory(Arc::new(quinn::congestion::NewRenoConfig::default()))
            }
        };
        transport
    }

    /// The side of QUIC that waits, with these transport parameters.
    ///
    /// Clients may change their address (RFC 9000 section 9): a NAT that forgets them would cut every download. The new
    /// address is proven before anything beyond three times their bytes is sent there.
    pub(super) fn server(&self, crypto: Arc<dyn quinn::crypto::ServerConfig>) -> quinn::ServerConfig {
        let mut config = quinn::ServerConfig::with_crypto(crypto);
        config
            .transport_config(Arc::new(self.transport()))
            .migration(true)
            .max_incoming(INCOMING)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
        config
    }
}
