//! The names of the zone, what each has, and the chain that proves what is not there (RFC 4034 section 4).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::{
    dnssec::rdata::{DNSSECRData, NSEC},
    rr::{Name, RData, Record, RecordType},
};

use crate::dns::{Names, answer::server_name, roster::Roster};

/// Names in canonical order (RFC 4034 section 6.1), the zone's own first, and what each has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    names: Vec<(Name, BTreeSet<RecordType>)>,
}

impl Chain {
    /// What follows from the configuration and the view of the mesh.
    pub fn of(names: &Names, roster: &Roster, is_signed: bool) -> Self {
        let mut all: BTreeMap<Name, BTreeSet<RecordType>> = BTreeMap::new();
        let mut put = |name: Name, kinds: &[RecordType]| all.entry(name).or_default().extend(kinds);
        put(names.apex.clone(), &[RecordType::SOA, RecordType::NS]);
        if !names.caa.is_empty() {
            put(names.apex.clone(), &[RecordType::CAA]);
        }
        if is_signed {
            put(names.apex.clone(), &[RecordType::DNSKEY, RecordType::CDS, RecordType::CDNSKEY]);
        }
        let hosts = || roster.groups.iter().flat_map(|group| &group.hosts);
        let (four, six) = (hosts().any(|host| !host.four.is_empty()), hosts().any(|host| !host.six.is_empty()));
        for name in &names.site {
            put(name.clone(), &[RecordType::HTTPS]);
            put(name.clone(), if four { &[RecordType::A] } else { &[] });
            put(name.clone(), if six { &[RecordType::AAAA] } else { &[] });
        }
        for server in &roster.servers {
            for address in &server.addresses {
                let kind = if matches!(address, IpAddr::V4(_)) { RecordType::A } else { RecordType::AAAA };
                put(server_name(&names.apex, server.node.as_str()), &[kind]);
            }
        }
        for (name, _) in roster.texts.iter().filter(|(name, _)| names.apex.zone_of(name)) {
            put(name.clone(), &[RecordType::TXT]);
        }
        Self { names: all.into_iter().collect() }
    }

    /// Where a name is, or the one before it.
    fn place(&self, name: &Name) -> Result<usize, usize> {
        self.names.binary_search_by(|(at, _)| at.cmp(name)).map_err(|after| after.saturating_sub(1))
    }

    /// True if there is something at a name of the zone or below it (RFC 8020).
    pub fn is_there(&self, name: &Name) -> bool {
        match self.place(name) {
            Ok(_) => true,
            Err(before) => self.names.get(before + 1).is_some_and(|(below, _)| name.zone_of(below)),
        }
    }

    /// The record that says what one name has, and which is the next.
    fn link(&self, at: usize, ttl: u32) -> Option<Record> {
        let (name, kinds) = self.names.get(at)?;
        let (next, _) = self.names.get(at + 1).or(self.names.first())?;
        let nsec = NSEC::new_cover_self(next.clone(), kinds.iter().copied());
        Some(Record::from_rdata(name.clone(), ttl, RData::DNSSEC(DNSSECRData::NSEC(nsec))))
    }

    /// The record of a name that has something itself.
    pub fn at(&self, name: &Name, ttl: u32) -> Option<Record> {
        self.link(self.place(name).ok()?, ttl)
    }

    /// What proves that a name of the zone has nothing of a kind, or is not there at all (RFC 4035 section 3.1.3): the
    /// record of the name or of the one before it, and if the name is not there, the same for what a wildcard would be.
    pub fn proof(&self, name: &Name, ttl: u32) -> Vec<Record> {
        let at = self.place(name).unwrap_or_else(|before| before);
        let mut places = vec![at];
        if !self.is_there(name) {
            let mut nearest = name.base_name();
            while !nearest.is_root() && !self.is_there(&nearest) {
                nearest = nearest.base_name();
            }
            if let Ok(wildcard) = nearest.prepend_label("*") {
                places.push(self.place(&wildcard).unwrap_or_else(|before| before));
            }
        }
        places.dedup();
        places.into_iter().filter_map(|at| self.link(at, ttl)).collect()
    }

    /// All names and what each has.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&Name, &BTreeSet<RecordType>)> {
        self.names.iter().map(|(name, kinds)| (name, kinds))
    }
}
