//! Signatures over messages with a shared key (RFC 8945): of the one that is sent, and of its answer.
//!
//! An answer counts only if it is signed over what was sent. The exceptions are those in which a server says that it
//! cannot sign: what they say is told to the operator, and nothing else follows from them.

use aws_lc_rs::hmac;
use hickory_proto::{
    ProtoError,
    op::{Header, Message, Query, ResponseCode},
    rr::{
        DNSClass, RData, Record,
        rdata::tsig::{TSIG, TsigError, make_tsig_record, message_tbs},
    },
    serialize::binary::{BinDecodable as _, BinDecoder, BinEncoder, DecodeError},
};

use super::key::Key;

/// Seconds that two clocks may differ (RFC 8945 section 10).
const FUDGE: u16 = 300;

/// Bytes of a message's header; the last two are the number of additional records.
const HEADER: usize = 12;

/// A message that is signed, and what its answer is known by.
#[derive(Debug)]
pub struct Signed {
    /// What is sent.
    pub bytes: Vec<u8>,
    id: u16,
    mac: Vec<u8>,
}

/// Why an answer does not mean that it was done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It is not known whether the server said that.
    #[error("the answer is not signed with the key: {0}")]
    Untrusted(&'static str),
    /// It did not do it; what it says of the signature, and its time by its own clock.
    #[error("{0} {1:?}")]
    Refused(ResponseCode, Option<TsigError>, Option<u64>),
}

impl From<DecodeError> for Doubt {
    fn from(_: DecodeError) -> Self {
        Self::Untrusted("it cannot be read")
    }
}

/// Signs a message at Unix seconds.
///
/// # Errors
/// If it has no form on the wire.
pub fn sign(mut message: Message, key: &Key, now: u64) -> Result<Signed, ProtoError> {
    let id = message.metadata.id;
    let unsigned = TSIG::new(key.algorithm.clone(), now, FUDGE, Vec::new(), id, None, Vec::new());
    let mac = hmac::sign(&key.secret, &message_tbs(&message, &unsigned, &key.name)?).as_ref().to_vec();
    let record = make_tsig_record(key.name.clone(), unsigned.set_mac(mac.clone()));
    message.add_additional(record.into_record_of_rdata());
    Ok(Signed { bytes: message.to_vec()?, id, mac })
}

impl Signed {
    /// Whether an answer that came at Unix seconds says that it was done.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn check(&self, answer: &[u8], key: &Key, now: u64) -> Result<(), Doubt> {
        let mut decoder = BinDecoder::new(answer);
        let Header { metadata, counts } = Header::read(&mut decoder)?;
        if metadata.id != self.id {
            return Err(Doubt::Untrusted("it answers something else"));
        }
        for _ in 0..counts.queries {
            Query::read(&mut decoder)?;
        }
        let records = [counts.answers, counts.authorities, counts.additionals].into_iter().map(u32::from).sum::<u32>();
        let (mut end, mut last) = (decoder.index(), None);
        for _ in 0..records {
            end = decoder.index();
            last = Some(Record::<RData>::read(&mut decoder)?);
        }
        let code = metadata.response_code;
        let (name, tsig) = match last {
            // Class and lifetime are what they have to be (section 4.2): they are not in what is signed here.
            Some(Record { name, dns_class: DNSClass::ANY, ttl: 0, data: RData::TSIG(tsig), .. })
                if counts.additionals > 0 =>
            {
                (name, tsig)
            }
            _ if code != ResponseCode::NoError => return Err(Doubt::Refused(code, None, None)),
            _ => return Err(Doubt::Untrusted("it has no signature")),
        };
        if matches!(tsig.error, Some(TsigError::BadKey | TsigError::BadSig)) {
            return Err(Doubt::Refused(code, tsig.error, None));
        }
        if name != key.name || tsig.algorithm != key.algorithm {
            return Err(Doubt::Untrusted("with another one"));
        }
        // What was sent, and the answer as it was before it was signed (RFC 8945 section 4.3).
        let mut variables = Vec::new();
        let written = tsig.emit_tsig_for_mac(&mut BinEncoder::new(&mut variables), &name);
        let part = |from: usize, to: usize| answer.get(from..to).unwrap_or_default();
        let signed = [
            &u16::try_from(self.mac.len()).unwrap_or_default().to_be_bytes()[..],
            &self.mac,
            &tsig.oid.to_be_bytes(),
            part(2, HEADER - 2),
            &counts.additionals.saturating_sub(1).to_be_bytes(),
            part(HEADER, end),
            &variables,
        ];
        if written.is_err() || hmac::verify(&key.secret, &signed.concat(), &tsig.mac).is_err() {
            return Err(Doubt::Untrusted("the signature is wrong"));
        }
        let theirs = match *tsig.other.as_slice() {
            [a, b, c, d, e, f] => Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
            _ => None,
        };
        match (code, tsig.error) {
            (ResponseCode::NoError, None) if now.abs_diff(tsig.time) > u64::from(tsig.fudge.min(FUDGE)) => {
                Err(Doubt::Untrusted("it is an old one"))
            }
            (ResponseCode::NoError, None) => Ok(()),
            (code, error) => Err(Doubt::Refused(code, error, theirs)),
        }
    }
}

#[cfg(test)]
mod tests;
