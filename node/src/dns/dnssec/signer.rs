//! Signatures of sets of records (RFC 4034 section 3), made when they are asked for and remembered.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use hickory_proto::{
    dnssec::{
        TBS,
        rdata::{DNSSECRData, RRSIG, sig::SigInput},
    },
    rr::{Name, RData, Record, RecordType, SerialNumber},
};

use super::key::{ALGORITHM, ZoneKey};

/// Signatures are as if they were made at the last multiple of this, seconds, so that a set has one for as long.
const ROUND: u32 = 6 * 3600;

/// How long before that they are good already: clocks of resolvers are behind (as BIND does).
const BEFORE: u32 = 3600;

/// How long after that they are good: three days, as common signers do, more than any answer is kept.
const AFTER: u32 = 3 * 24 * 3600;

/// Signatures that are remembered, some 400 bytes each. A mesh of ten nodes has a few hundred different answers.
const MAX_KNOWN: usize = 1 << 14;

/// What was signed, and its signature.
type Known = HashMap<Box<[u8]>, Box<[u8]>>;

/// Signs for a zone.
pub struct Signer {
    apex: Name,
    keys: Vec<ZoneKey>,
    known: Mutex<Known>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?}", self.apex, self.keys)
    }
}

impl Signer {
    /// For a zone, with keys of which the first signs, and all are published; `None` without any.
    pub fn new(apex: Name, keys: Vec<ZoneKey>) -> Option<Self> {
        (!keys.is_empty()).then(|| Self { apex, keys, known: Mutex::default() })
    }

    /// The zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The keys, the one that signs first.
    pub fn keys(&self) -> &[ZoneKey] {
        &self.keys
    }

    /// What is published of the keys under this type; nothing if it is another one.
    pub fn published(&self, kind: RecordType) -> Vec<RData> {
        let of = |key: &ZoneKey| match kind {
            RecordType::DNSKEY => Some(DNSSECRData::DNSKEY(key.dnskey.clone())),
            RecordType::CDS => key.cds(&self.apex).map(DNSSECRData::CDS),
            RecordType::CDNSKEY => Some(DNSSECRData::CDNSKEY(key.cdnskey())),
            _ => None,
        };
        self.keys.iter().filter_map(of).map(RData::DNSSEC).collect()
    }

    /// The signatures of a set of records (one name, one type, one lifetime) at Unix seconds: one, or one of each key if it is
    /// about keys. None if it is empty, or cannot be signed.
    pub fn sign(&self, set: &[Record], now: u32) -> Vec<Record> {
        // Signatures are not signed (RFC 4035 section 2.2).
        let Some(first) = set.first().filter(|first| first.record_type() != RecordType::RRSIG) else {
            return Vec::new();
        };
        let kind = first.record_type();
        let is_of_keys = matches!(kind, RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY);
        let keys = self.keys.iter().take(if is_of_keys { self.keys.len() } else { 1 });
        let signed = keys.filter_map(|key| {
            let begun = now - now % ROUND;
            let input = SigInput {
                type_covered: kind,
                algorithm: ALGORITHM,
                num_labels: first.name.num_labels(),
                original_ttl: first.ttl,
                sig_expiration: SerialNumber::new(begun.wrapping_add(AFTER)),
                sig_inception: SerialNumber::new(begun.wrapping_sub(BEFORE)),
                key_tag: key.tag,
                signer_name: self.apex.clone(),
            };
            let what = TBS::from_input(&first.name, first.dns_class, &input, set.iter()).ok()?;
            let signature = self.signature(key, &what)?;
            let rrsig = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
            Some(Record::from_rdata(first.name.clone(), first.ttl, rrsig))
        });
        signed.collect()
    }

    /// The signature of what is to be signed, which names the key and the time.
    fn signature(&self, key: &ZoneKey, what: &TBS) -> Option<Vec<u8>> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signature) = lock().get(what.as_ref()) {
            return Some(signature.to_vec());
        }
        let signature = key.sign(what)?;
        let mut known = lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(what.as_ref().into(), signature.clone().into());
        Some(signature)
    }
}
