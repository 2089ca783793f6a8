//! The least of netlink that nf_tables needs: messages with attributes, sent as one transaction, and what the kernel says.
//!
//! A [`Transaction`] is all or nothing: the kernel takes every message of it or none (nfnetlink's batches). Only what the
//! kernel itself sent is read. Layouts are those of `linux/netlink.h` and `linux/netfilter/nfnetlink.h`: headers in the
//! machine's byte order, the values of nf_tables in the network's. Nothing that comes back is indexed or believed to be
//! whole.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, netlink::SocketAddrNetlink, sockopt},
};

/// What the kernel has not answered after this long it will not answer; it answers at once unless memory is short.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for one reading: an error comes with the message that it is about, which is one of ours.
const ROOM: usize = 256 << 10;

/// `nlmsghdr` and `nfgenmsg`.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Message types of nfnetlink.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLMSG_ERROR: u16 = 2;
const SUBSYSTEM: u16 = 10;

/// Flags of messages.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// An attribute that holds others.
const NESTED: u16 = 1 << 15;

/// `NFPROTO_INET`: both families in one table.
const INET: u8 = 1;

/// Messages of nf_tables that are used (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as in the kernel's header")]
pub enum Kind {
    NewTable = 0,
    DelTable = 2,
    NewChain = 3,
    NewRule = 6,
    DelRule = 8,
    NewSet = 9,
    NewElement = 12,
    DelElement = 14,
    NewObject = 18,
    GetObject = 19,
}

impl Kind {
    fn number(self) -> u16 {
        SUBSYSTEM << 8 | self as u16
    }

    fn flags(self) -> u16 {
        match self {
            Self::NewRule => CREATE | APPEND,
            Self::NewTable | Self::NewChain | Self::NewSet | Self::NewElement | Self::NewObject => CREATE,
            Self::DelTable | Self::DelRule | Self::DelElement | Self::GetObject => 0,
        }
    }
}

/// Attributes of a message, one after another.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// With one more of these bytes.
    #[must_use]
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // Lengths are far below 64 KiB: whoever sends elements cuts them into messages.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// With one more number.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// With one more long number.
    #[must_use]
    pub fn long(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// With one more text, ended by a zero.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// With one more that holds others.
    #[must_use]
    pub fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// Writes them as they are sent.
    #[cfg(test)]
    pub fn append_to(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0);
    }

    /// With one more that holds a list.
    #[must_use]
    pub fn list(self, kind: u16, items: impl IntoIterator<Item = Self>) -> Self {
        const ELEMENT: u16 = 1;
        self.nest(kind, &items.into_iter().fold(Self::default(), |list, item| list.nest(ELEMENT, &item)))
    }
}

/// The value of the first attribute of a kind, wherever the attributes are cut short.
pub fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes(*kind) & !NESTED == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// Messages that are taken together or not at all.
#[derive(Debug, Default)]
pub struct Transaction(Vec<(Kind, Attributes)>);

impl Transaction {
    /// With one more message.
    pub fn push(&mut self, kind: Kind, attributes: Attributes) {
        self.0.push((kind, attributes));
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why the kernel did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// This process may not change nf_tables.
    Forbidden,
    /// It refused a message, the first of these.
    Refused(Errno),
    /// It did not answer, or the socket failed.
    Broken(Errno),
}

/// A socket to nf_tables. What it owns goes with it.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one. No capability is needed until it changes something.
    ///
    /// # Errors
    /// If the kernel has no netfilter, or no file is left.
    pub fn open() -> Result<Self, Refusal> {
        let flags = SocketFlags::CLOEXEC;
        let open = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER));
        let socket = open.map_err(Refusal::Broken)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(Refusal::Broken)?;
        for way in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&socket, way, Some(PATIENCE)).map_err(Refusal::Broken)?;
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; ROOM] })
    }

    /// Has a transaction taken.
    ///
    /// # Errors
    /// If it was not: then nothing of it was.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), Refusal> {
        let Some((last, before)) = transaction.0.split_last() else { return Ok(()) };
        let mut bytes = Vec::new();
        let begin = self.message(&mut bytes, BATCH_BEGIN, 0, 0, SUBSYSTEM, &[]);
        for (kind, attributes) in before {
            self.message(&mut bytes, kind.number(), kind.flags(), INET, 0, &attributes.0);
        }
        let (kind, attributes) = last;
        let end = self.message(&mut bytes, kind.number(), kind.flags() | ACK, INET, 0, &attributes.0);
        self.message(&mut bytes, BATCH_END, 0, 0, SUBSYSTEM, &[]);
        self.send(&bytes)?;
        let mut refused = None;
        self.receive(|kind, sequence, body| {
            if kind != NLMSG_ERROR || !(begin..=end).contains(&sequence) {
                return None;
            }
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            if code != 0 {
                let error = Errno::from_raw_os_error(code.saturating_neg());
                let forbidden = sequence == begin && error == Errno::PERM;
                refused.get_or_insert(if forbidden { Refusal::Forbidden } else { Refusal::Refused(error) });
            }
            (sequence == end || sequence == begin).then_some(())
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Asks for one thing, and gives what `read` makes of the attributes of the answer.
    ///
    /// # Errors
    /// If there is no such thing, or `read` makes nothing of it.
    pub fn ask<T>(
        &mut self,
        kind: Kind,
        attributes: &Attributes,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, Refusal> {
        let mut bytes = Vec::new();
        let asked = self.message(&mut bytes, kind.number(), kind.flags(), INET, 0, &attributes.0);
        self.send(&bytes)?;
        let answer = self.receive(|kind, sequence, body| {
            if sequence != asked {
                return None;
            }
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            Some(if kind == NLMSG_ERROR {
                Err(Refusal::Refused(Errno::from_raw_os_error(code.saturating_neg())))
            } else {
                let attributes = body.get(FAMILY_HEADER..).unwrap_or_default();
                read(attributes).ok_or(Refusal::Broken(Errno::BADMSG))
            })
        });
        answer?
    }

    /// Writes a message; gives its number.
    fn message(&mut self, to: &mut Vec<u8>, kind: u16, flags: u16, family: u8, of: u16, attributes: &[u8]) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&length.to_ne_bytes());
        to.extend_from_slice(&kind.to_ne_bytes());
        to.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        to.extend_from_slice(&self.sequence.to_ne_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&[family, 0]);
        to.extend_from_slice(&of.to_be_bytes());
        to.extend_from_slice(attributes);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.socket, bytes, SendFlags::empty(), &kernel);
        sent.map(drop).map_err(Refusal::Broken)
    }

    /// Reads messages (type, number, body) until one gives a value.
    fn receive<T>(&mut self, mut with: impl FnMut(u16, u32, &[u8]) -> Option<T>) -> Result<T, Refusal> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let received = rustix::net::recvfrom(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty());
            let (read, _, from) = match received {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Refusal::Broken(error)),
            };
            let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if from.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            let mut bytes = self.buffer.get(..read).unwrap_or_default();
            while let Some((kind, sequence, body, rest)) = split(bytes) {
                if let Some(value) = with(kind, sequence, body) {
                    return Ok(value);
                }
                bytes = rest;
            }
        }
        Err(Refusal::Broken(Errno::TIMEDOUT))
    }
}

/// Type, number and body of the first message, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (_flags, rest) = rest.split_first_chunk::<2>()?;
    let (sequence, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes(*kind), u32::from_ne_bytes(*sequence), body, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_on_the_wire() {
        let made = Attributes::default().text(1, "ab").number(2, 7).nest(3, &Attributes::default().long(4, 9));
        let (two, four) = (u16::to_ne_bytes, |bytes: &[u8]| bytes.to_vec());
        let golden = [
            [&two(7)[..], &two(1), b"ab\0\0"].concat(),
            [&two(8)[..], &two(2), &[0, 0, 0, 7]].concat(),
            [&two(16)[..], &two(3 | NESTED), &two(12), &two(4), &[0, 0, 0, 0, 0, 0, 0, 9]].concat(),
        ];
        assert_eq!(made.0, golden.concat());
        assert_eq!(find(&made.0, 2).map(four), Some(vec![0, 0, 0, 7]));
        let inner = find(&made.0, 3).unwrap();
        assert_eq!(find(inner, 4).map(four), Some(9_u64.to_be_bytes().to_vec()));
        assert_eq!(find(&made.0, 4), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0..8_u16) {
            let _ = find(&bytes, kind);
            let mut rest = bytes.as_slice();
            while let Some((_, _, _, behind)) = split(rest) {
                prop_assert!(behind.len() < rest.len());
                rest = behind;
            }
        }
    }
}
