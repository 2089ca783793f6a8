//! What a node and the coordinator say to each other over QUIC.
//!
//! **Participants.** A node dials the coordinator (so it works behind NAT) with ALPN [`ALPN_MESH`] and mutual TLS 1.3;
//! each side's certificate comes from the mesh authority. A machine without a certificate may only speak
//! [`ALPN_ENROL`]: one [`EnrolRequest`], one [`EnrolReply`].
//!
//! **Control.** The node opens one bidirectional stream and sends [`FromNode::Hello`]; frames then flow both ways until
//! the connection ends. A frame is a length (u32, little-endian) and that many bytes of postcard.
//!
//! **Deltas.** For each cut a node lacks, the coordinator opens one unidirectional stream: a [`StreamHead::Delta`] frame, with
//! the signed manifest told by that of a cut that the node said it has, then for every blob, or [bundle](crate::bundle) of them, an [`ItemHead`] frame and the coded bytes behind it. The node
//! verifies the manifest, decodes and digests each blob, and answers [`FromNode::Staged`] once all is on disk. What did
//! not verify or did not come it asks for with [`FromNode::Want`]; the answer is another stream of the same form, in
//! which every blob is whole. In the place of a blob the root stands for the manifest, whole.
//!
//! Where one node of a zone has a cut already, the others are told so ([`FromCoordinator::Nearby`]) and ask [it](crate::peer);
//! what they cannot have there they say ([`FromNode::Lacks`]) and are sent.
//!
//! **Packs** of nodes that keep the archive: see [`keeping`].
//!
//! **Offenders** that nodes tell each other of: see [`offenders`].
//!
//! **Members.** The node says with [`FromNode::Reach`] how others reach it; the coordinator tells all nodes who is in the
//! mesh ([`FromCoordinator::Members`]), and from then on they talk to [each other](crate::peer), too.
//!
//! **Flips** come on the control stream, signed; the node answers [`FromNode::Flipped`] when it serves the cut. Behind its hello it
//! shows the last one that it obeyed ([`FromNode::Knows`]), so that a coordinator that came back from a backup learns what it forgot.
//!
//! **Non-goals.** Nothing here is secret from the other side, and nothing received is believed for having arrived on an
//! authenticated connection: content is checked against signed digests.
//!
//! **Refusal.** A peer that breaks these rules is closed with a [`CloseCode`].

pub mod keeping;
mod list;
pub mod offenders;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub use self::{
    keeping::{Held, PackHead, StreamHead},
    list::{List, ListError},
    offenders::Offender,
};
use crate::{
    CutKey, Digest, Flip, Mark, MeshId, NodeId, Signed, VerifyingKey, Zone,
    codec::Coding,
    members::{Members, Reach},
    peer::Condition,
    store::PackName,
};

/// ALPN of the mesh protocol. A new version gets a new number. Coordinators and nodes speak the last two, so that a mesh is
/// upgraded one machine at a time: see [`Version`].
pub const ALPN_MESH: &[u8] = b"difusor/5";

/// ALPN of the version before.
pub const ALPN_MESH_BEFORE: &[u8] = b"difusor/4";

/// ALPN of enrolment.
pub const ALPN_ENROL: &[u8] = b"difusor-enrol/1";

/// Which version of the protocol a connection speaks. Frames that came later than it are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Every node is sent every cut by the coordinator.
    Four,
    /// With [`FromCoordinator::Nearby`], [`FromNode::Lacks`] and [`FromNode::Knows`].
    Five,
}

impl Version {
    /// Of an ALPN; `None` if it is not of the mesh protocol.
    pub fn of(alpn: &[u8]) -> Option<Self> {
        match alpn {
            ALPN_MESH => Some(Self::Five),
            ALPN_MESH_BEFORE => Some(Self::Four),
            _ => None,
        }
    }

    /// Of a connection whose handshake is done.
    pub fn of_connection(connection: &quinn::Connection) -> Option<Self> {
        let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
        Self::of(&data.protocol?)
    }
}

/// Everything a node says on the control stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromNode {
    /// First frame of a connection.
    Hello(Hello),
    /// Asks for the time. Unix microseconds of the node's clock.
    Ping {
        /// When this was sent.
        sent: u64,
    },
    /// The cut is complete, verified and on disk.
    Staged {
        /// Which.
        cut: CutKey,
        /// Bytes that came for it, heads and manifest included.
        received: u64,
        /// Microseconds from the head of the delta to the last fsync.
        micros: u64,
    },
    /// The cut cannot be staged here.
    Refused {
        /// Which.
        cut: CutKey,
        /// Why, for the operator.
        reason: String,
    },
    /// These blobs did not come or did not verify.
    Want {
        /// For which cut.
        cut: CutKey,
        /// Which, at most [`crate::limits::MAX_WANT`].
        digests: Vec<Digest>,
    },
    /// The node serves this cut.
    Flipped {
        /// Serial of the flip.
        serial: u64,
        /// The cut.
        cut: CutKey,
        /// When the pointer was swapped, in Unix microseconds of the coordinator's clock as the node measures it.
        at_us: u64,
    },
    /// How the node is, once a second.
    Report(Report),
    /// Packs of the archive that the node keeps, at most [`crate::limits::MAX_KEPT`].
    Keeps {
        /// Which.
        packs: Vec<Held>,
    },
    /// A pack is verified and on disk.
    Kept {
        /// Which.
        name: PackName,
    },
    /// A pack is not here: it could not be kept, or what was asked for was never here.
    NotKept {
        /// Which.
        name: PackName,
        /// Why, for the operator.
        reason: String,
    },
    /// Whom the node lets in no more, at most [`crate::limits::MAX_OFFENDERS`].
    Offenders {
        /// Who.
        banned: Vec<Offender>,
    },
    /// How the node is reached, after the hello and whenever it changes.
    Reach(Reach),
    /// How it is, and what it makes of the others; whenever that changes.
    Health(Health),
    /// Nobody else could give this cut: the coordinator has to send it. Since [`Version::Five`].
    Lacks {
        /// Which.
        cut: CutKey,
    },
    /// The last flip that the node obeyed, if it has it at hand; right behind the hello. Since [`Version::Five`].
    Knows(Option<Signed<Flip>>),
}

/// How a node is, and what it makes of others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub condition: Condition,
    /// Why, for people.
    pub reasons: Vec<String>,
    /// Nodes that it would send no visitors to, at most [`crate::limits::MAX_MEMBERS`], and why.
    pub avoids: Vec<(NodeId, String)>,
}

/// Who dials, and what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the software, for people.
    pub software: String,
    /// The highest flip obeyed.
    pub mark: Mark,
    /// Complete cuts on disk, newest first.
    pub holds: Vec<CutKey>,
    /// Where the public is served, for people: `host:port`.
    pub public: Vec<String>,
    /// True if it keeps the archive: [`FromNode::Keeps`] follows.
    pub archive: bool,
}

/// A node's own measurements.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Resident memory, bytes.
    pub rss: u64,
    /// Requests answered since start.
    pub requests: u64,
    /// Bytes of bodies sent since start.
    pub bytes: u64,
    /// What the node refused from the coordinator since start, by reason.
    pub refused: Vec<(String, u64)>,
    /// Coordinator clock minus node clock, microseconds.
    pub offset_us: i64,
    /// Round trip, microseconds.
    pub rtt_us: u64,
}

/// Everything the coordinator says on the control stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromCoordinator {
    /// The node is let in.
    Welcome {
        /// Which mesh this is.
        mesh: MeshId,
        /// The name the node was enrolled under.
        node: NodeId,
        /// Its zone.
        zone: Zone,
    },
    /// Answers [`FromNode::Ping`].
    Pong {
        /// Copied from the question.
        sent: u64,
        /// Coordinator's clock when the question arrived, Unix microseconds.
        arrived: u64,
        /// Coordinator's clock when this left.
        answered: u64,
    },
    /// Serve this cut from this instant on.
    Flip(Signed<Flip>),
    /// Send this pack back.
    Fetch {
        /// Which.
        name: PackName,
    },
    /// Give this pack up: its cut is kept in a smaller form.
    Discard {
        /// Which.
        name: PackName,
    },
    /// Whom another node lets in no more.
    Offenders {
        /// Which node.
        node: NodeId,
        /// Who.
        banned: Vec<Offender>,
    },
    /// Who is in the mesh.
    Members(Signed<Members>),
    /// This cut is to be had from other nodes, the first to be asked first. Since [`Version::Five`].
    Nearby {
        /// Which.
        cut: CutKey,
        /// Who holds it, at most [`crate::limits::MAX_SOURCES`].
        from: Vec<NodeId>,
    },
}

/// Opens a delta stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeltaHead {
    /// The cut that the blobs are for.
    pub cut: CutKey,
    /// Its manifest; absent when the stream only brings what was asked for again.
    pub list: Option<List>,
    /// Blobs and bundles that follow.
    pub items: u32,
    /// Coded bytes that follow, without heads.
    pub bytes: u64,
}

/// Goes before the coded bytes of one blob or bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemHead {
    /// BLAKE3 of the plain bytes; of a bundle, of its coded ones.
    pub digest: Digest,
    /// How the bytes that follow are coded.
    pub coding: Coding,
    /// Coded bytes that follow.
    pub len: u64,
}

/// Asks to become a node of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// From the token.
    pub secret: [u8; 16],
    /// The name the machine would like; the coordinator makes one from the zone otherwise.
    pub name: Option<NodeId>,
    /// PKCS#10 request (DER) for the certificate inside the mesh.
    pub mesh_request: Vec<u8>,
    /// PKCS#10 request (DER) for a certificate of the public site, for as long as the operator gives no better one.
    pub site_request: Vec<u8>,
    /// Names and addresses that the public site is reached by.
    pub site_names: Vec<String>,
}

/// Answers [`EnrolRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolReply {
    /// The machine is a node now.
    Welcome {
        /// Its name.
        node: NodeId,
        /// Its zone, from the invitation.
        zone: Zone,
        /// Certificate inside the mesh, DER.
        mesh_certificate: Vec<u8>,
        /// Certificate for the public site, DER.
        site_certificate: Vec<u8>,
        /// Certificate of the mesh authority, DER.
        authority: Vec<u8>,
        /// The key to pin.
        key: VerifyingKey,
    },
    /// It is not, and why.
    Refused(String),
}

/// Why a connection was closed, as a QUIC application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// Orderly end.
    Done = 0,
    /// The mesh protocol was spoken without a certificate.
    NoCertificate = 1,
    /// A certificate of the authority that belongs to no node (any more).
    UnknownNode = 2,
    /// A frame above its limit.
    Oversize = 3,
    /// Bytes that are no frame, or a frame out of turn.
    Garbage = 4,
    /// A statement whose signature does not verify.
    Forged = 5,
    /// A statement that was obeyed before.
    Replay = 6,
    /// A flip to below the mark.
    BelowMark = 7,
    /// Blobs that do not verify, again and again.
    BadContent = 8,
    /// The other side said nothing for too long.
    Silent = 9,
    /// The same node dialled again.
    Replaced = 10,
    /// This process ends.
    Shutdown = 11,
}

impl CloseCode {
    const ALL: [Self; 12] = [
        Self::Done,
        Self::NoCertificate,
        Self::UnknownNode,
        Self::Oversize,
        Self::Garbage,
        Self::Forged,
        Self::Replay,
        Self::BelowMark,
        Self::BadContent,
        Self::Silent,
        Self::Replaced,
        Self::Shutdown,
    ];

    /// The code behind a number on the wire.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(*code as u32) == number)
    }

    /// The code a peer closed `error`'s connection with.
    pub fn of(error: &quinn::ConnectionError) -> Option<Self> {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => Self::from_number(close.error_code.into_inner()),
            _ => None,
        }
    }

    /// Short name, for logs, counters and reasons.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NoCertificate => "no-certificate",
            Self::UnknownNode => "unknown-node",
            Self::Oversize => "oversize",
            Self::Garbage => "garbage",
            Self::Forged => "forged",
            Self::Replay => "replay",
            Self::BelowMark => "below-mark",
            Self::BadContent => "bad-content",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
        }
    }

    /// Closes `connection` with this code and its name.
    pub fn close(self, connection: &quinn::Connection) {
        connection.close((self as u32).into(), self.name().as_bytes());
    }
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke or the stream was reset.
    #[error("the stream ended: {0}")]
    Io(#[from] std::io::Error),
    /// The length in front is above the limit.
    #[error("a frame of {0} bytes is above the limit of {1}")]
    Oversize(u64, usize),
    /// The bytes are no frame of this kind.
    #[error("bytes that are no frame: {0}")]
    Garbage(#[from] postcard::Error),
}

impl FrameError {
    /// What to close the connection with; `None` if it is broken anyway.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Io(_) => None,
            Self::Oversize(..) => Some(CloseCode::Oversize),
            Self::Garbage(_) => Some(CloseCode::Garbage),
        }
    }
}

/// Reads one frame of at most `max` bytes; `None` at the end of the stream.
///
/// # Errors
/// [`FrameError`]; nothing is allocated for a frame above the limit.
pub async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_le_bytes(length);
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if size > max {
        return Err(FrameError::Oversize(length.into(), max));
    }
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(decode(&bytes)?))
}

/// Writes one frame.
///
/// # Errors
/// If the stream is closed, or the frame is longer than a u32 counts.
pub async fn write_frame<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), frame: &T) -> std::io::Result<()> {
    stream.write_all(&encode(frame)?).await
}

/// The bytes of one frame, length in front.
///
/// # Errors
/// If it is longer than a u32 counts.
pub fn encode<T: Serialize>(frame: &T) -> std::io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(frame, vec![0; 4]).map_err(std::io::Error::other)?;
    let length = u32::try_from(bytes.len().saturating_sub(4)).map_err(std::io::Error::other)?;
    for (to, from) in bytes.iter_mut().zip(length.to_le_bytes()) {
        *to = from;
    }
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let (frame, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(frame) } else { Err(postcard::Error::SerdeDeCustom) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn golden_bytes() {
        // A change of these bytes needs a new ALPN: nodes of two versions run side by side.
        let cases: [(FromNode, &str); 3] = [
            (
                FromNode::Keeps {
                    packs: vec![Held {
                        name: "0000000002-20210606_2240-0123456789ab-1.cut".parse().unwrap(),
                        len: 300,
                    }],
                },
                "300000000701",
            ),
            (FromNode::Ping { sent: 300 }, "0300000001ac02"),
            (
                FromNode::Want {
                    cut: CutKey { seq: 2, label: "20210606_2240".parse().unwrap(), root: Digest::of(b"r") },
                    digests: vec![],
                },
                "3100000004020d32303231303630365f32323430",
            ),
        ];
        for (frame, hex) in cases {
            let bytes = encode(&frame).unwrap();
            assert!(crate::digest::encode_hex(&bytes).starts_with(hex), "{}", crate::digest::encode_hex(&bytes));
            let read: Option<FromNode> = read_frame(&mut bytes.as_slice(), 1024).await.unwrap();
            assert_eq!(read, Some(frame));
        }
    }

    #[tokio::test]
    async fn limits_and_ends() {
        let read = async |mut bytes: &[u8]| read_frame::<FromNode>(&mut bytes, 16).await;
        assert!(matches!(read(&[]).await, Ok(None)));
        assert!(matches!(read(&[255, 255, 255, 255]).await, Err(FrameError::Oversize(4_294_967_295, 16))));
        assert!(matches!(read(&[2, 0]).await, Err(FrameError::Io(_))));
        assert!(matches!(read(&[1, 0, 0, 0, 99]).await, Err(FrameError::Garbage(_))));
        // One byte too many is no frame either.
        assert!(matches!(read(&[3, 0, 0, 0, 1, 5, 5]).await, Err(FrameError::Garbage(_))));
    }

    #[test]
    fn codes_survive_the_wire() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(u64::from(code as u32)), Some(code));
        }
        assert_eq!(CloseCode::from_number(999), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<FromNode>(&bytes);
            let _ = decode::<FromCoordinator>(&bytes);
            let _ = decode::<StreamHead>(&bytes);
            let _ = decode::<PackHead>(&bytes);
            let _ = decode::<ItemHead>(&bytes);
            let _ = decode::<EnrolRequest>(&bytes);
            let _ = decode::<EnrolReply>(&bytes);
        }
    }
}
