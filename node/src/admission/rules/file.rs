//! The file of the rules: what stands in it, and what is said about what cannot be meant.
//!
//! Every value is checked where it is read, so that an error names its line. Lists of networks may stand in files of
//! their own, one network a line, as those who publish them write them.

use std::{
    collections::HashSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use difusor_proto::units::Span;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::glob::{Glob, GlobError, Of};
use crate::head::{Field, Method};

/// Rules at once. They are tried one after the other for every request, each is a label of the metrics, and a throttle has
/// a table of half a megabyte: more would be felt in all three.
pub const MAX_RULES: usize = 64;

/// Longest name of a rule: a label that fits a line of a dashboard.
const MAX_NAME: usize = 48;

/// Patterns of one condition: each of them may be tried for every request.
const MAX_PATTERNS: usize = 64;

/// Bytes of the file and of each list, a million networks: so that a wrong path does not fill the memory.
const MAX_FILE: u64 = 64 << 20;

/// Longest time that an answer is held: most clients wait for no longer, and what is held holds a place.
const MAX_HOLD: std::time::Duration = std::time::Duration::from_secs(30);

/// Answers held at once, if the file says nothing: a small part of the connections that a node has room for.
const HELD: usize = 512;

/// Most that may be asked for: a quarter of the connections that there are by default.
const MAX_HELD: usize = 4096;

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A file is there and cannot be read.
    #[error("reading {}: {error}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("in {}: {error}", .path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// The line, and what to write instead.
        error: String,
    },
}

impl RulesError {
    fn wrong(path: &Path, error: impl ToString) -> Self {
        Self::Wrong { path: path.into(), error: error.to_string().trim_end().into() }
    }
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RulesText {
    /// Answers held at once.
    held: Option<Spanned<usize>>,
    #[serde(rename = "rule")]
    pub(super) rules: Vec<RuleText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    name: Spanned<String>,
    #[serde(default)]
    networks: Option<List<Network>>,
    #[serde(default)]
    network_files: Option<List<PathBuf>>,
    #[serde(default)]
    methods: Option<List<MethodName>>,
    #[serde(default)]
    paths: Option<List<PathGlob>>,
    #[serde(default)]
    user_agents: Option<List<AgentGlob>>,
    #[serde(default)]
    headers: Option<List<HeaderText>>,
    #[serde(default)]
    not: ConditionsText,
    pub(super) action: ActionText,
    #[serde(default)]
    pub(super) log: bool,
}

/// What has to hold. A condition that is not there always does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConditionsText {
    pub(super) networks: Option<List<Network>>,
    pub(super) network_files: Option<List<PathBuf>>,
    pub(super) methods: Option<List<MethodName>>,
    pub(super) paths: Option<List<PathGlob>>,
    pub(super) user_agents: Option<List<AgentGlob>>,
    pub(super) headers: Option<List<HeaderText>>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ActionText {
    Allow,
    Deny,
    Close,
    Throttle(RateText),
    Tarpit(Hold),
}

/// How much of it one source may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateText {
    pub(super) a_second: std::num::NonZero<u64>,
    pub(super) at_once: std::num::NonZero<u64>,
}

/// How long an answer is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Span")]
pub(super) struct Hold(pub(super) std::time::Duration);

impl TryFrom<Span> for Hold {
    type Error = String;

    fn try_from(span: Span) -> Result<Self, String> {
        if span.0.is_zero() || span.0 > MAX_HOLD {
            return Err(format!("an answer is held for more than nothing and at most {} s", MAX_HOLD.as_secs()));
        }
        Ok(Self(span.0))
    }
}

/// One or more: nothing matches one of none, and a list that came out empty must not mean everyone.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<T>")]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> TryFrom<Vec<T>> for List<T> {
    type Error = &'static str;

    fn try_from(items: Vec<T>) -> Result<Self, &'static str> {
        if items.is_empty() {
            return Err("nothing is one of an empty list: leave the condition out to mean any");
        }
        Ok(Self(items))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network(pub(super) IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        network(&text).map(Self)
    }
}

/// A network, or an address that stands for itself.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network
        .map_err(|_| format!("`{text}` is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"))
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PathGlob(pub(super) Glob);

impl TryFrom<String> for PathGlob {
    type Error = GlobError;

    fn try_from(text: String) -> Result<Self, GlobError> {
        Glob::new(&text, Of::Path).map(Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AgentGlob(pub(super) Glob);

impl TryFrom<String> for AgentGlob {
    type Error = GlobError;

    fn try_from(text: String) -> Result<Self, GlobError> {
        Glob::new(&text, Of::AnyCase).map(Self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct MethodName(pub(super) Method);

impl TryFrom<String> for MethodName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let method = Method::from_name(text.as_bytes());
        if method == Method::Other && text != method.name() {
            return Err(format!("`{text}`: write GET, HEAD, OPTIONS, or other for all that are refused anyway"));
        }
        Ok(Self(method))
    }
}

/// What is asked of a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRaw {
    name: String,
    present: Option<bool>,
    exact: Option<String>,
    glob: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "HeaderRaw")]
pub(super) struct HeaderText {
    /// `None` is the host.
    pub(super) field: Option<Field>,
    pub(super) wanted: Wanted,
}

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Present(bool),
    Exact(Box<[u8]>),
    Like(Glob),
}

impl TryFrom<HeaderRaw> for HeaderText {
    type Error = String;

    fn try_from(raw: HeaderRaw) -> Result<Self, String> {
        let HeaderRaw { name, present, exact, glob } = raw;
        let field = match Field::from_name(name.as_bytes()) {
            None if name.eq_ignore_ascii_case("host") => None,
            None => {
                let known: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
                return Err(format!("`{name}` is not kept of a request: name host, {}", known.join(", ")));
            }
            some => some,
        };
        let wanted = match (present, exact, glob) {
            (Some(present), None, None) => Wanted::Present(present),
            (None, Some(exact), None) => Wanted::Exact(exact.into_bytes().into()),
            (None, None, Some(glob)) => Wanted::Like(Glob::new(&glob, Of::Value).map_err(|error| error.to_string())?),
            _ => return Err(format!("`{name}`: write one of `present = true`, `exact = \"…\"`, `glob = \"…\"`")),
        };
        Ok(Self { field, wanted })
    }
}

impl RulesText {
    /// Reads `text`, which is what `path` holds.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, RulesError> {
        let rules: Self = toml::from_str(text).map_err(|error| RulesError::wrong(path, error))?;
        let at = |span: std::ops::Range<usize>, what: String| {
            let line = 1 + text.get(..span.start).unwrap_or_default().matches('\n').count();
            RulesError::wrong(path, format!("line {line}: {what}"))
        };
        if let Some(held) = &rules.held
            && *held.get_ref() > MAX_HELD
        {
            return Err(at(held.span(), format!("held: at most {MAX_HELD}, as each holds a connection's place")));
        }
        let mut names = HashSet::new();
        for (number, rule) in rules.rules.iter().enumerate() {
            let (name, span) = (rule.name.get_ref().as_str(), rule.name.span());
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if name.is_empty() || name.len() > MAX_NAME || !plain {
                let what = format!("`{name}`: name rules by 1 to {MAX_NAME} of a-z, A-Z, 0-9, `-`, `_`, `.`");
                return Err(at(span, what));
            }
            if !names.insert(name) {
                return Err(at(span, format!("`{name}` is the name of a rule before: its counts would be mixed")));
            }
            if number >= MAX_RULES {
                return Err(at(
                    span,
                    format!("`{name}` is one too many: at most {MAX_RULES} rules; put lists together"),
                ));
            }
            let few = |len: usize| len <= MAX_PATTERNS;
            if !few(len(&rule.paths))
                || !few(len(&rule.user_agents))
                || !few(len(&rule.headers))
                || !rule.not.is_short()
            {
                return Err(at(span, format!("`{name}`: at most {MAX_PATTERNS} patterns in each condition")));
            }
        }
        Ok(rules)
    }

    /// Answers held at once.
    pub(super) fn held(&self) -> usize {
        self.held.as_ref().map_or(HELD, |held| *held.get_ref())
    }

    /// The files of networks that are named, in order.
    pub(super) fn lists(&self) -> impl Iterator<Item = &Path> {
        self.rules.iter().flat_map(|rule| {
            let files = rule.network_files.iter().chain(&rule.not.network_files);
            files.flat_map(|files| files.0.iter().map(PathBuf::as_path))
        })
    }
}

impl RuleText {
    /// Its name, and its conditions: those that must hold, and those of which none may.
    pub(super) fn split(self) -> (String, ConditionsText, ConditionsText, ActionText, bool) {
        let Self { name, networks, network_files, methods, paths, user_agents, headers, not, action, log } = self;
        let all = ConditionsText { networks, network_files, methods, paths, user_agents, headers };
        (name.into_inner(), all, not, action, log)
    }
}

impl ConditionsText {
    fn is_short(&self) -> bool {
        [len(&self.paths), len(&self.user_agents), len(&self.headers)].iter().all(|len| *len <= MAX_PATTERNS)
    }
}

fn len<T>(list: &Option<List<T>>) -> usize {
    list.as_ref().map_or(0, |list| list.0.len())
}

/// The networks of a list: one a line, and what follows `#` or `;` is a comment.
pub(super) fn list(text: &str, path: &Path) -> Result<Vec<IpNet>, RulesError> {
    let mut networks = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if !line.is_empty() {
            let error = |what| RulesError::wrong(path, format!("line {}: {what}", number + 1));
            networks.push(network(line).map_err(error)?);
        }
    }
    Ok(networks)
}

/// What a file holds; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, RulesError> {
    let unreadable = |error| RulesError::Unreadable { path: path.into(), error };
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => {
            return Err(RulesError::wrong(path, format!("{} bytes: at most {MAX_FILE}", meta.len())));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    fs::read_to_string(path).map(Some).map_err(unreadable)
}
