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
    Digest, NodeId, Zone,
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
            lists.nodes.insert(node.clone(), Member { zone: zone.clone(), certificate, enrolled_ms: now_ms });
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

    /// Changes a copy, writes it, and only then believes it.
    fn change<T, E: From<io::Error>>(&self, change: impl FnOnce(&mut Lists) -> Result<T, E>) -> Result<T, E> {
        let mut lists = self.lock();
        let mut next = lists.clone();
        let value = change(&mut next)?;
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
    fn a_failed_issue_uses_nothing_up() {
        let (_dir, registry) = registry();
        registry.invite(&[1; 16], "mx".parse().unwrap(), 0, HOUR).unwrap();
        let failed: Result<(_, _, ()), _> =
            registry.enrol(&[1; 16], None, 1, |_, _| Err(EnrolError::Io(io::Error::other("no"))));
        assert!(failed.is_err());
        assert!(enrol(&registry, 1, None, 1).is_ok());
    }
}
