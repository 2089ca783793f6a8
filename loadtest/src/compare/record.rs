//! The records of one direction of a TLS 1.3 connection (RFC 8446 section 5), sealed and opened in place.
//!
//! rustls makes the handshake and hands the keys over; what follows is bare, so that a driver spends as little as can
//! be on each byte: it has one core, and the server that it loads must be the one that is short of time.

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Type, version and length.
pub(super) const HEADER: usize = 5;

/// The longest sealed content.
const LONGEST: usize = (1 << 14) + 256;

const TAG: usize = 16;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CONTENT: u8 = 23;

/// First byte of a handshake message that brings a ticket; tickets are of no use to an open connection.
const NEW_SESSION_TICKET: u8 = 4;

/// Key, nonce and number of the next record.
pub(super) struct Half {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Half {
    /// From what rustls agreed on; only AES-128-GCM, which is all that is offered.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> anyhow::Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            bail!("the server chose a cipher that was not offered")
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).context("traffic key")?;
        let iv = iv.as_ref().try_into().context("traffic nonce")?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, count) in nonce.iter_mut().rev().zip(self.sequence.to_le_bytes()) {
            *byte ^= count;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends one record with `plain` to `out`; `plain` must fit into one.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let length = u16::try_from(plain.len() + 1 + TAG).context("a request larger than a record")?;
        let [high, low] = length.to_be_bytes();
        let header = [CONTENT, 3, 3, high, low];
        out.extend_from_slice(&header);
        let from = out.len();
        out.extend_from_slice(plain);
        out.push(CONTENT);
        let nonce = self.nonce();
        let sealed = out.get_mut(from..).unwrap_or_default();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed).context("sealing a record")?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens the first record of `input`, if all of it is there. Returns its length on the wire and its content, which
    /// is empty for records without application data.
    pub(super) fn open<'a>(&mut self, input: &'a mut [u8]) -> anyhow::Result<Option<(usize, &'a [u8])>> {
        let Some((header, rest)) = input.split_first_chunk_mut::<HEADER>() else { return Ok(None) };
        let [kind, _, _, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        ensure!(kind == CONTENT && length <= LONGEST, "a record of type {kind} and {length} bytes");
        let Some(sealed) = rest.get_mut(..length) else { return Ok(None) };
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(*header), sealed).context("opening a record")?;
        let opened: &[u8] = opened;
        // The type is the last byte that is not padding.
        let end = opened.iter().rposition(|byte| *byte != 0).context("a record of padding alone")?;
        let (content, kind) = opened.split_at(end);
        match (kind.first(), content) {
            (Some(&CONTENT), content) => Ok(Some((HEADER + length, content))),
            (Some(&HANDSHAKE), [NEW_SESSION_TICKET, ..]) => Ok(Some((HEADER + length, &[]))),
            (Some(&ALERT), alert) => bail!("the server closed the connection (alert {alert:?})"),
            (kind, _) => bail!("a record of type {kind:?} that is not reckoned with"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> Half {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
        Half { key, iv: [9; NONCE_LEN], sequence: 255 }
    }

    #[test]
    fn what_is_sealed_can_be_opened_in_order() {
        let (mut tx, mut rx, mut wire) = (half(), half(), Vec::new());
        tx.seal(b"one", &mut wire).unwrap();
        tx.seal(b"", &mut wire).unwrap();
        tx.seal(b"three\0", &mut wire).unwrap();
        let mut opened = Vec::new();
        let mut rest = wire.as_mut_slice();
        while let Some((length, content)) = rx.open(rest).unwrap() {
            opened.push(content.to_vec());
            rest = &mut rest[length..];
        }
        assert_eq!(opened, [b"one".to_vec(), Vec::new(), b"three\0".to_vec()]);
        assert!(rest.is_empty());
    }

    #[test]
    fn parts_wait_and_damage_is_refused() {
        let mut wire = Vec::new();
        half().seal(b"request", &mut wire).unwrap();
        for cut in 0..wire.len() {
            let mut rx = half();
            assert!(rx.open(&mut wire.clone()[..cut]).unwrap().is_none());
            assert_eq!(rx.sequence, 255, "a part used up a nonce");
        }
        for at in 0..wire.len() {
            let mut damaged = wire.clone();
            damaged[at] ^= 0x40;
            assert!(!matches!(half().open(&mut damaged), Ok(Some(_))), "byte {at}");
        }
    }

    #[test]
    fn tickets_are_passed_over_and_alerts_end() {
        let sealed = |content: &[u8], kind: u8| {
            let mut body = [content, &[kind, 0, 0]].concat();
            let header = [CONTENT, 3, 3, 0, u8::try_from(body.len() + TAG).unwrap()];
            let mut tx = half();
            let nonce = tx.nonce();
            let tag = tx.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut body).unwrap();
            [&header, body.as_slice(), tag.as_ref()].concat()
        };
        assert_eq!(half().open(&mut sealed(&[4, 0, 0], HANDSHAKE)).unwrap().unwrap().1, b"");
        assert!(half().open(&mut sealed(&[24, 0], HANDSHAKE)).is_err());
        assert!(half().open(&mut sealed(&[1, 0], ALERT)).unwrap_err().to_string().contains("closed"));
    }
}
