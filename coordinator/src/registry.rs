//! Who is a node of the mesh, and who is invited to become one.
//!
//! One small file, replaced whole at each change. A node is known by the digest of its certificate, so taking it out of
//! the list is enough to keep it out. An invitation is kept as the digest of its secret; it works once, until it
//! expires.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use difusor_proto::{
    Digest, MeshId, NodeId, Zone,
    limits::MAX_MEMBERS,
    members::{self, MAX_TEXTS, Members, Reach, Text},
    process::unix_us,
    store::{Access, replace},
};
use serde::{Deserialize, Serialize};

/// A node that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its zone.
    pub zone: Zone,
    /// BLAKE3 of its certificate (DER).
    pub certificate: Digest,
    /// When it enrolled, Unix milliseconds.
    pub enrolled_ms: u64,
    /// How it is reached, as far as it said.
    #[serde(default)]
    pub reach: Reach,
    /// True if the operator wants visitors elsewhere.
    #[serde(default)]
    pub drained: bool,
}

/// An invitation that nobody used yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    /// BLAKE3 of the secret.
    secret: Digest,
    zone: Zone,
    expires_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lists {
    nodes: BTreeMap<NodeId, Member>,
    invitations: Vec<Invitation>,
    /// Texts that nodes answer in DNS.
    #[serde(default)]
    texts: Vec<Text>,
    /// Grows with every change of `nodes` and `texts`, for the list that nodes are told.
    #[serde(default)]
    serial: u64,
}

/// Why a machine did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No such invitation: never made, used before, or expired long ago.
    #[error("this token was used before or is not known here: make a new one with `difusor-coordinator invite`")]
    Unknown,
    /// The invitation is too old.
    #[error("this token has expired: make a new one with `difusor-coordinator invite`")]
    Expired,
    /// Another machine has that name.
    #[error("there is a node called {0} already: choose another --name, or leave it out")]
    NameTaken(NodeId),
    /// A mesh has as many nodes as it can have.
    #[error("the mesh has {MAX_MEMBERS} nodes: take one out with `difusor-coordinator remove` first")]
    Full,
    /// What it sent cannot be signed.
    #[error("the enrolment request cannot be signed: {0}")]
    Request(String),
    /// The list could not be written.
    #[error("the list of nodes could not be written: {0}")]
    Io(#[from] io::Error),
}

/// The lists on disk.
pub struct Registry {
    path: PathBuf,
    lists: Mutex<Lists>,
}

impl Registry {
    /// Reads the lists at `path`; a missing file is an empty list.
    ///
    /// # Errors
    /// If the file cannot be read, or holds anything else.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let lists = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                anyhow::anyhow!("{} is damaged ({error}): restore it from a backup", path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Lists::default(),
            Err(error) => anyhow::bail!("reading {}: {error}", path.display()),
        };
        Ok(Self { path, lists: Mutex::new(lists) })
    }

    /// Notes an invitation to `zone`.
    ///
    /// # Errors
    /// If the file cannot be written; the invitation does not count then.
    pub fn invite(&self, secret: &[u8; 16], zone: Zone, now_ms: u64, good_for: Duration) -> io::Result<()> {
        let life = u64::try_from(good_for.as_millis()).unwrap_or(u64::MAX);
        let invitation = Invitation { secret: Digest::of(secret), zone, expires_ms: now_ms.saturating_add(life) };
        self.change(|lists| {
            lists.invitations.retain(|old| old.expires_ms > now_ms);
            lists.invitations.push(invitation);
            Ok(())
        })
    }

    /// Uses up an invitation, and makes whoever holds it a node. `issue` makes its certificate.
    ///
    /// # Errors
    /// [`EnrolError`]; the invitation then still counts, unless it is too old.
    pub fn enrol<T>(
        &self,
        secret: &[u8; 16],
        name: Option<NodeId>,
        now_ms: u64,
        issue: impl FnOnce(&NodeId, &Zone) -> Result<(Digest, T), EnrolError>,
    ) -> Result<(NodeId, Zone, T), EnrolError> {
        self.change(|lists| {
            let secret = Digest::of(secret);
            let at = lists.invitations.iter().position(|i| i.secret == secret).ok_or(EnrolError::Unknown)?;
            let invitation = lists.invitations.get(at).cloned().ok_or(EnrolError::Unknown)?;
            if invitation.expires_ms <= now_ms {
                return Err(EnrolError::Expired);
            }
            let zone = invitation.zone;
            let node = match name {
                Some(name) if lists.nodes.contains_key(&name) => return Err(EnrolError::NameTaken(name)),
                Some(name) => name,
                None => free_name(lists, &zone).ok_or(EnrolError::Unknown)?,
            };
            let (certificate, issued) = issue(&node, &zone)?;
            lists.invitations.remove(at);
            if lists.nodes.len() >= MAX_MEMBERS {
                return Err(EnrolError::Full);
            }
            let (reach, drained) = Default::default();
            let member = Member { zone: zone.clone(), certificate, enrolled_ms: now_ms, reach, drained };
            lists.nodes.insert(node.clone(), member);
            Ok((node, zone, issued))
        })
    }

    /// The node that shows this certificate.
    pub fn find(&self, certificate: &Digest) -> Option<(NodeId, Zone)> {
        let lists = self.lock();
        let (node, member) = lists.nodes.iter().find(|(_, member)| member.certificate == *certificate)?;
        Some((node.clone(), member.zone.clone()))
    }

    /// All nodes by name.
    pub fn nodes(&self) -> BTreeMap<NodeId, Member> {
        self.lock().nodes.clone()
    }

    /// The list that nodes are told.
    pub fn members(&self, mesh: MeshId) -> Members {
        let lists = self.lock();
        let nodes = lists.nodes.iter().map(|(node, member)| {
            let Member { zone, certificate, reach, drained, .. } = member.clone();
            members::Member { node: node.clone(), zone, certificate, reach, drained }
        });
        Members { mesh, serial: lists.serial, nodes: nodes.collect(), texts: lists.texts.clone() }
    }

    /// Notes how a node is reached. True if that is something else than before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn reach(&self, node: &NodeId, reach: &Reach) -> io::Result<bool> {
        if self.lock().nodes.get(node).is_none_or(|member| member.reach == *reach) {
            return Ok(false);
        }
        self.change(|lists| Ok(lists.nodes.get_mut(node).map(|member| member.reach = reach.clone()).is_some()))
    }

    /// Drains a node, or lets visitors come again. `None` if there is no such node, `false` if it was so before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn drain(&self, node: &NodeId, drained: bool) -> io::Result<Option<bool>> {
        self.change(|lists| {
            Ok(lists.nodes.get_mut(node).map(|node| std::mem::replace(&mut node.drained, drained) != drained))
        })
    }

    /// Puts a text at a name in DNS, beside others that are there. False if it was there, or there is no room.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_text(&self, text: Text) -> io::Result<bool> {
        self.change(|lists| {
            let fits = lists.texts.len() < MAX_TEXTS && !lists.texts.contains(&text);
            if fits {
                lists.texts.push(text);
            }
            Ok(fits)
        })
    }

    /// Takes all texts away from a name. Gives how many.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn take_texts(&self, name: &str) -> io::Result<usize> {
        self.change(|lists| {
            let before = lists.texts.len();
            lists.texts.retain(|text| !text.name.eq_ignore_ascii_case(name));
            Ok(before - lists.texts.len())
        })
    }

    /// Takes a node out, for good: its certificate counts for nothing from now on. False if there is none of that name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn remove(&self, node: &NodeId) -> io::Result<bool> {
        self.change(|lists| Ok(lists.nodes.remove(node).is_some()))
    }

    /// Changes a copy, writes it, and only then believes it.
    fn change<T, E: From<io::Error>>(&self, change: impl FnOnce(&mut Lists) -> Result<T, E>) -> Result<T, E> {
        let mut lists = self.lock();
        let mut next = lists.clone();
        let value = change(&mut next)?;
        if next == *lists {
            return Ok(value);
        }
        if next.nodes != lists.nodes || next.texts != lists.texts {
            // Also ahead of all that was told before the file came back from a backup.
            next.serial = next.serial.saturating_add(1).max(unix_us() / 1_000_000);
        }
        let bytes = serde_json::to_vec_pretty(&next).map_err(io::Error::other)?;
        replace(&self.path, &bytes, Access::Secret)?;
        *lists = next;
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // The lists are replaced whole, so a panic elsewhere does not spoil them.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The zone's name for its first node, then with a number behind.
fn free_name(lists: &Lists, zone: &Zone) -> Option<NodeId> {
    let numbered = (2_u32..).map(|n| format!("{zone}-{n}"));
    std::iter::once(zone.to_string())
        .chain(numbered)
        .map_while(|name| name.parse::<NodeId>().ok())
        .find(|name| !lists.nodes.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::TempDir::new().unwrap();
        let registry = Registry::open(dir.path().join("nodes.json")).unwrap();
        (dir, registry)
    }

    fn enrol(registry: &Registry, secret: u8, name: Option<&str>, now: u64) -> Result<String, EnrolError> {
        let name = name.map(|name| name.parse().unwrap());
        let certificate = Digest::of(&[secret]);
        registry.enrol(&[secret; 16], name, now, |_, _| Ok((certificate, ()))).map(|(node, ..)| node.to_string())
    }

    #[test]
    fn a_token_works_once_and_not_for_ever() {
        let (dir, registry) = registry();
        registry.invite(&[1; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        registry.invite(&[2; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        assert!(matches!(enrol(&registry, 9, None, 1), Err(EnrolError::Unknown)));
        assert_eq!(enrol(&registry, 1, None, 1).unwrap(), "mx");
        assert!(matches!(enrol(&registry, 1, None, 2), Err(EnrolError::Unknown)));
        assert!(matches!(enrol(&registry, 2, None, 3_600_000), Err(EnrolError::Expired)));
        let again = Registry::open(dir.path().join("nodes.json")).unwrap();
        assert_eq!(again.nodes(), registry.nodes());
        assert_eq!(again.find(&Digest::of(&[1])).unwrap().0.as_str(), "mx");
        assert!(matches!(enrol(&again, 1, None, 2), Err(EnrolError::Unknown)));
    }

    #[test]
    fn names_are_unique() {
        let (_dir, registry) = registry();
        for secret in 1..=4 {
            registry.invite(&[secret; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        }
        assert_eq!(enrol(&registry, 1, None, 1).unwrap(), "mx");
        assert_eq!(enrol(&registry, 2, None, 1).unwrap(), "mx-2");
        assert!(matches!(enrol(&registry, 3, Some("mx"), 1), Err(EnrolError::NameTaken(_))));
        assert_eq!(enrol(&registry, 3, Some("other"), 1).unwrap(), "other");
    }

    #[test]
    fn every_change_of_the_nodes_is_counted() {
        let (dir, registry) = registry();
        let mesh = MeshId::of_key(b"k");
        assert_eq!(registry.members(mesh).serial, 0);
        for secret in 1..=2 {
            registry.invite(&[secret; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        }
        assert_eq!(registry.members(mesh).serial, 0, "an invitation is no node");
        let one: NodeId = enrol(&registry, 1, Some("one"), 1).unwrap().parse().unwrap();
        enrol(&registry, 2, Some("a"), 1).unwrap();
        let reach = Reach { peers: vec!["192.0.2.1:8445".parse().unwrap()], ..Reach::default() };
        assert!(registry.reach(&one, &reach).unwrap() && !registry.reach(&one, &reach).unwrap());
        assert_eq!(
            [true, true, false].map(|to| registry.drain(&one, to).unwrap()),
            [Some(true), Some(false), Some(true)]
        );
        assert_eq!(registry.drain(&"two".parse().unwrap(), true).unwrap(), None);
        let members = Registry::open(dir.path().join("nodes.json")).unwrap().members(mesh);
        assert_eq!((members.check(), members.nodes.len()), (Ok(()), 2));
        // Three more than the second in which the first came, at least, and ahead of any count.
        assert!(members.serial > 1_700_000_000);
        let mut last = members.serial;
        let mut grew = |registry: &Registry, times: u64| {
            let serial = registry.members(mesh).serial;
            let grew = serial >= last + times;
            last = serial;
            grew
        };
        assert_eq!(members.get(&one).unwrap().reach, reach);
        let text = Text { name: "_acme-challenge.example.org".into(), value: "x".into() };
        assert!(registry.put_text(text.clone()).unwrap() && !registry.put_text(text).unwrap());
        assert!(registry.members(mesh).texts.len() == 1 && grew(&registry, 1));
        assert_eq!([(); 2].map(|()| registry.take_texts("_ACME-challenge.example.org").unwrap()), [1, 0]);
        assert!(registry.remove(&one).unwrap() && !registry.remove(&one).unwrap());
        assert!(grew(&registry, 2) && registry.find(&Digest::of(&[1])).is_none());
    }

    #[test]
    fn a_failed_issue_uses_nothing_up() {
        let (_dir, registry) = registry();
        registry.invite(&[1; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        let failed: Result<(_, _, ()), _> =
            registry.enrol(&[1; 16], None, 1, |_, _| Err(EnrolError::Io(io::Error::other("no"))));
        assert!(failed.is_err());
        assert!(enrol(&registry, 1, None, 1).is_ok());
    }
}
