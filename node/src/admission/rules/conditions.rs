//! The conditions of a rule, made ready: one function says whether they hold, and which one does not.
//!
//! The cheapest and most telling are looked at first: the method, the networks, then the patterns.

use std::{borrow::Cow, fmt, net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use super::{
    file::{ConditionsText, HeaderText, Wanted},
    glob::Glob,
    networks::Networks,
};
use crate::head::{Head, Method};

/// A request, as rules see it.
#[derive(Debug)]
pub struct Request<'a> {
    address: IpAddr,
    head: &'a Head<'a>,
    path: Cow<'a, [u8]>,
    is_alone: bool,
}

/// What a request is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The visitor's address.
    Networks,
    /// What is asked.
    Methods,
    /// Of what it is asked.
    Paths,
    /// The program that asks.
    UserAgents,
    /// This field, of those that are listed.
    Headers(usize),
}

/// Some conditions.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    networks: Option<Networks>,
    methods: Option<Vec<Method>>,
    paths: Option<Vec<Glob>>,
    user_agents: Option<Vec<Glob>>,
    headers: Vec<HeaderText>,
}

impl<'a> Request<'a> {
    /// A request of this visitor. Its path is decoded once, so that no rule is passed by writing it in another way.
    pub fn new(address: IpAddr, head: &'a Head<'a>) -> Self {
        Self { address, head, path: decoded(head.path), is_alone: true }
    }

    /// The same on a connection that carries the requests of other visitors, too: it is neither ended nor held.
    #[must_use]
    pub fn among_others(self) -> Self {
        Self { is_alone: false, ..self }
    }

    /// True if the connection is this visitor's alone.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// The visitor.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Conditions {
    /// From what the file says, and the networks of its lists.
    pub(super) fn new(text: ConditionsText, list: impl Fn(&PathBuf) -> Vec<IpNet>) -> Self {
        let ConditionsText { networks, network_files, methods, paths, user_agents, headers } = text;
        let is_about_networks = networks.is_some() || network_files.is_some();
        let own = networks.into_iter().flat_map(|own| own.0).map(|network| network.0);
        let listed = network_files.into_iter().flat_map(|files| files.0).flat_map(|file| list(&file));
        Self {
            networks: is_about_networks.then(|| Networks::new(own.chain(listed))),
            methods: methods.map(|methods| methods.0.into_iter().map(|method| method.0).collect()),
            paths: paths.map(|paths| paths.0.into_iter().map(|path| path.0).collect()),
            user_agents: user_agents.map(|agents| agents.0.into_iter().map(|agent| agent.0).collect()),
            headers: headers.map(|headers| headers.0).unwrap_or_default(),
        }
    }

    /// The first condition that does not hold.
    pub(super) fn unmet(&self, request: &Request<'_>) -> Option<Condition> {
        self.all(request).find(|(_, holds)| !holds).map(|(condition, _)| condition)
    }

    /// The first condition that holds.
    pub(super) fn met(&self, request: &Request<'_>) -> Option<Condition> {
        self.all(request).find(|(_, holds)| *holds).map(|(condition, _)| condition)
    }

    /// Each condition there is, and whether it holds; none is looked at before it is asked for.
    fn all(&self, request: &Request<'_>) -> impl Iterator<Item = (Condition, bool)> {
        let head = request.head;
        let methods = self.methods.iter().map(move |methods| (Condition::Methods, methods.contains(&head.method)));
        let networks = self.networks.iter().map(|networks| (Condition::Networks, networks.includes(request.address)));
        let paths = self.paths.iter().map(|paths| {
            let holds = paths.iter().any(|path| path.matches(&request.path));
            (Condition::Paths, holds)
        });
        let agents = self.user_agents.iter().map(move |agents| {
            // Whoever names no program is one without a name.
            let unnamed = head.user_agent.is_empty().then_some(b"".as_slice());
            let holds =
                head.user_agent.iter().chain(unnamed).any(|name| agents.iter().any(|agent| agent.matches(name)));
            (Condition::UserAgents, holds)
        });
        let headers = self.headers.iter().enumerate();
        let headers = headers.map(move |(number, header)| (Condition::Headers(number), header.holds(head)));
        methods.chain(networks).chain(paths).chain(agents).chain(headers)
    }

    /// A condition in words.
    pub(super) fn word(&self, condition: Condition) -> String {
        let several = |what: &str, globs: &Option<Vec<Glob>>| {
            let texts: Vec<String> =
                globs.iter().flatten().take(4).map(|glob| format!("{:?}", glob.to_string())).collect();
            let more = globs.as_ref().map_or(0, Vec::len).saturating_sub(texts.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{what} {}{more}", texts.join(", "))
        };
        match condition {
            Condition::Networks => {
                format!("networks, {} of them", self.networks.as_ref().map_or(0, Networks::given))
            }
            Condition::Methods => {
                let names: Vec<&str> = self.methods.iter().flatten().map(|method| method.name()).collect();
                format!("methods {}", names.join(", "))
            }
            Condition::Paths => several("paths", &self.paths),
            Condition::UserAgents => several("user_agents", &self.user_agents),
            Condition::Headers(number) => {
                self.headers.get(number).map_or_else(String::new, |header| format!("header {header}"))
            }
        }
    }
}

impl HeaderText {
    fn holds(&self, head: &Head<'_>) -> bool {
        let any = |holds: &dyn Fn(&[u8]) -> bool| match self.field {
            Some(field) => head.lines(field).iter().any(holds),
            None => head.authority.is_some_and(holds),
        };
        match &self.wanted {
            Wanted::Present(present) => any(&|_| true) == *present,
            Wanted::Exact(exact) => any(&|value| value == &**exact),
            Wanted::Like(glob) => any(&|value| glob.matches(value)),
        }
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.field.map_or("host", |field| field.name());
        match &self.wanted {
            Wanted::Present(true) => write!(f, "{name} is there"),
            Wanted::Present(false) => write!(f, "{name} is not there"),
            Wanted::Exact(exact) => write!(f, "{name} is {:?}", String::from_utf8_lossy(exact)),
            Wanted::Like(glob) => write!(f, "{name} is like {:?}", glob.to_string()),
        }
    }
}

/// A path with every `%XX` read; what is no such thing stays as it is.
fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        let octet = digit(at + 1).zip(digit(at + 2)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        match octet.filter(|_| *byte == b'%') {
            Some(octet) => {
                bytes.push(octet);
                at += 3;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_once() {
        for (path, read) in [
            ("/x.csv", "/x.csv"),
            ("/%78.csv", "/x.csv"),
            ("/%2578", "/%78"),
            ("/%2f%C3%b1", "//ñ"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
        ] {
            assert_eq!(&*decoded(path.as_bytes()), read.as_bytes(), "{path}");
        }
    }
}
