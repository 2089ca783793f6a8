//! Why a zone is not as it should be, in words that say what to do.

use std::net::SocketAddr;

use difusor_proto::NodeId;
use hickory_proto::{op::ResponseCode, rr::rdata::tsig::TsigError};

use super::{Plan, key::Key, records::Unread, tsig::Doubt};

/// Why a zone was not made right.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No server answers.
    #[error("no answer from {0}")]
    Unreachable(String),
    /// A server does not do it.
    #[error("{0} {1}")]
    Refused(SocketAddr, String),
    /// It is not known whether the server said that.
    #[error("{0}: {1}; does something on the way change it?")]
    Untrusted(SocketAddr, String),
    /// The server did it, and answers as before.
    #[error(
        "{0} took the update, and answers otherwise: is there a CNAME at the name, or does somebody else write there?"
    )]
    Ineffective(SocketAddr),
    /// This node is cut off from the others.
    #[error("{0} is not to be seen from here, and serves visitors: whoever sees more of the mesh keeps the zone right")]
    CutOff(NodeId),
}

impl Failure {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(..) => "refused",
            Self::Untrusted(..) => "untrusted",
            Self::Ineffective(_) => "ineffective",
            Self::CutOff(_) => "cut-off",
        }
    }

    /// A server that does not tell what it has.
    pub fn unread(server: SocketAddr, why: Unread, plan: &Plan) -> Self {
        let zone = &plan.zone;
        match why {
            Unread::Code(code) => Self::Refused(
                server,
                format!("does not say what is in {zone} ({code}): let this node ask it (BIND: allow-query)"),
            ),
            Unread::NoAuthority => {
                Self::Refused(server, format!("is not the primary of {zone}: set `server` and `zone` to what it has"))
            }
            Unread::Strange => Self::Untrusted(server, "it answers something else".to_owned()),
        }
    }

    /// A server that does not do it, or may not have said so; `now` in Unix seconds.
    pub fn doubt(server: SocketAddr, doubt: Doubt, plan: &Plan, key: &Key, now: u64) -> Self {
        let (zone, name) = (&plan.zone, &key.name);
        let said = match doubt {
            Doubt::Untrusted(_) => return Self::Untrusted(server, doubt.to_string()),
            Doubt::Refused(_, Some(TsigError::BadKey), _) => {
                format!("does not know the key {name} with {}: enter it there as it is in `key`", key.algorithm)
            }
            Doubt::Refused(_, Some(TsigError::BadSig), _) => {
                format!("has another secret for the key {name}: write the same into both files")
            }
            Doubt::Refused(_, Some(TsigError::BadTime), theirs) => {
                let ahead = theirs.map_or(0, |theirs| i128::from(now) - i128::from(theirs));
                format!("has another time, by {ahead} s less than here: set both clocks, by NTP")
            }
            Doubt::Refused(ResponseCode::Refused, ..) => format!(
                "does not let the key {name} change {zone}: allow it A, AAAA and HTTPS of the names (BIND: update-policy; \
                 Knot: acl with action update)"
            ),
            Doubt::Refused(ResponseCode::NotAuth | ResponseCode::NotZone, ..) => {
                format!("is not the primary of {zone}: set `server` and `zone` to what it has")
            }
            Doubt::Refused(ResponseCode::NotImp, ..) => {
                "takes no updates: allow them there, or name another".to_owned()
            }
            Doubt::Refused(ResponseCode::ServFail, ..) => {
                "could not do it: see its log; may it write the file of the zone, and beside it?".to_owned()
            }
            Doubt::Refused(code, error, _) => {
                format!("did not do it: {code}{}", error.map(|error| format!(", {error:?}")).unwrap_or_default())
            }
        };
        Self::Refused(server, said)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn each_says_what_to_do() {
        let key = Key::parse("key k { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZg==\"; };").unwrap();
        let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
        let zone = Name::from_ascii("example.org.").unwrap();
        let plan = Plan { servers: vec![server], zone: zone.clone(), names: vec![zone], ttl: 20, key: "k".into() };
        let refused = |code, error, theirs| {
            let failure = Failure::doubt(server, Doubt::Refused(code, error, theirs), &plan, &key, 1_000);
            assert_eq!(failure.name(), "refused");
            failure.to_string()
        };
        for (said, part) in [
            (
                refused(ResponseCode::NotAuth, Some(TsigError::BadKey), None),
                "does not know the key k. with hmac-sha256",
            ),
            (refused(ResponseCode::NotAuth, Some(TsigError::BadSig), None), "another secret"),
            (refused(ResponseCode::NotAuth, Some(TsigError::BadTime), Some(400)), "by 600 s less"),
            (refused(ResponseCode::NotAuth, None, None), "not the primary of example.org."),
            (refused(ResponseCode::Refused, None, None), "update-policy"),
            (refused(ResponseCode::NotImp, None, None), "no updates"),
            (refused(ResponseCode::ServFail, None, None), "its log"),
            (refused(ResponseCode::YXRRSet, None, None), "did not do it"),
            (Failure::unread(server, Unread::Code(ResponseCode::Refused), &plan).to_string(), "allow-query"),
            (Failure::unread(server, Unread::NoAuthority, &plan).to_string(), "not the primary"),
        ] {
            assert!(said.starts_with("192.0.2.53:53 ") && said.contains(part), "{said}");
        }
        let doubt = Failure::doubt(server, Doubt::Untrusted("x"), &plan, &key, 0);
        assert_eq!(doubt.name(), "untrusted");
    }
}
