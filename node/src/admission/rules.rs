//! The operator's rules about requests: let them pass, refuse them, slow them down, or hold them.
//!
//! They stand in a TOML file that is read again when it changes ([`book`]); what may stand in it, [`EXAMPLE`] shows and
//! `file` checks. The first rule whose conditions all hold decides, before the budgets of sources are charged. What is
//! compared is what the desk knows of a request: the visitor behind trusted proxies, the method, the path as it reads, and
//! the fields that a [`Head`](crate::head::Head) keeps.
//!
//! Trying all rules allocates nothing (but for a path with `%` in it, which is decoded once), takes no lock, and reads each
//! byte of a request once for each pattern at most, whatever the pattern is ([`glob`]). How many networks a rule names
//! hardly matters ([`networks`]).
//!
//! A rule that holds answers takes no thread: the connection waits for a timer. Their number is bounded, and beyond it the
//! answer is given at once.

pub mod book;
pub mod conditions;
pub mod counts;
mod file;
pub mod glob;
pub mod networks;

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;

pub use self::file::{MAX_RULES, RulesError};
use self::{
    conditions::{Conditions, Request},
    counts::{Counts, Held, Holds, Outcome},
    file::{ActionText, RulesText},
};
use super::{
    rates::{Charge, Rate, Rates},
    source::Source,
};

/// A file with every condition and every action, explained.
pub const EXAMPLE: &str = include_str!("rules/example.toml");

/// Sources that a throttle tells apart. 8 bytes each: half a megabyte for each rule that throttles.
const SOURCES: usize = 1 << 16;

/// Requests that a rule with `log` has logged, a second: enough to see who it is, too few to fill a disk with.
const LOGGED: NonZero<u64> = NonZero::new(20).unwrap();

/// All rules, in their order.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    holds: Arc<Holds>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    all: Conditions,
    none: Conditions,
    action: Action,
    log: Option<Arc<Meter>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Action {
    Allow,
    Deny,
    Close,
    Throttle(Arc<Meter>),
    Tarpit(Duration),
}

/// A rate with its own clock.
#[derive(Debug)]
struct Meter {
    rate: Rate,
    rates: Rates,
    begun: Instant,
}

/// What a rule decides about a request.
#[derive(Debug)]
pub enum Ruling {
    /// It is answered, and no budget is charged.
    Allow,
    /// It goes on to the budgets, as if no rule were about it.
    Pass,
    /// 403.
    Deny,
    /// 403, or nothing at all and the end of the connection.
    Close,
    /// 429; after this time it may be asked again.
    Late(Duration),
    /// 403, once this is over.
    Hold(Held),
}

/// Why a rule is not about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// This condition does not hold.
    Unmet(String),
    /// This one of `not` holds.
    Excepted(String),
}

impl Meter {
    fn new(rate: Rate, sources: usize) -> Self {
        Self { rate, rates: Rates::new(rate, sources), begun: Instant::now() }
    }

    fn charge(&self, address: IpAddr, now: Instant) -> Charge {
        let micros = now.saturating_duration_since(self.begun).as_micros();
        self.rates.charge(Source::of(address), 1, u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What the rules are read from: the file, and the lists that it names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Material {
    path: PathBuf,
    text: String,
    lists: Vec<(PathBuf, String)>,
}

impl Material {
    /// Reads everything; `None` if the file is not there.
    ///
    /// # Errors
    /// [`RulesError`], also for a list that is not there: a rule of nobody is not what was meant.
    pub fn read(path: &Path) -> Result<Option<Self>, RulesError> {
        let Some(text) = file::read(path)? else { return Ok(None) };
        let rules = RulesText::parse(&text, path)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let mut lists: Vec<(PathBuf, String)> = Vec::new();
        for named in rules.lists() {
            if lists.iter().all(|(known, _)| known != named) {
                let at = beside.join(named);
                let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                let text = file::read(&at)?.ok_or(RulesError::Unreadable { path: at, error: missing })?;
                lists.push((named.into(), text));
            }
        }
        Ok(Some(Self { path: path.into(), text, lists }))
    }

    /// The text of rules that name no lists.
    pub fn of(text: &str) -> Self {
        Self { text: text.into(), path: "rules.toml".into(), lists: Vec::new() }
    }
}

impl Rules {
    /// Makes them ready. What `before` knows of rules that stayed is kept: what they counted, and what their throttles
    /// were charged.
    ///
    /// # Errors
    /// [`RulesError`] says what to write instead.
    pub fn new(material: &Material, before: Option<&Self>) -> Result<Self, RulesError> {
        let text = RulesText::parse(&material.text, &material.path)?;
        let beside = material.path.parent().unwrap_or(Path::new("."));
        let mut lists: HashMap<&PathBuf, Vec<IpNet>> = HashMap::new();
        for (named, text) in &material.lists {
            lists.insert(named, file::list(text, &beside.join(named))?);
        }
        let list = |named: &PathBuf| lists.get(named).cloned().unwrap_or_default();
        let holds = match before {
            Some(before) if before.holds.most() == text.held() => Arc::clone(&before.holds),
            _ => Arc::new(Holds::new(text.held())),
        };
        let rules = text.rules.into_iter().map(|rule| {
            let (name, all, none, action, log) = rule.split();
            let same = before.and_then(|before| before.rules.iter().find(|rule| *rule.name == *name));
            let action = Action::new(action, same.map(|same| &same.action));
            let kept = same.filter(|same| same.action.outcomes() == action.outcomes());
            let log = log.then(|| {
                let rate = Rate { per_second: LOGGED, burst: LOGGED };
                same.and_then(|same| same.log.clone()).unwrap_or_else(|| Arc::new(Meter::new(rate, 1)))
            });
            Rule {
                counts: kept.map(|kept| Arc::clone(&kept.counts)).unwrap_or_default(),
                name: name.into(),
                all: Conditions::new(all, list),
                none: Conditions::new(none, list),
                action,
                log,
            }
        });
        Ok(Self { rules: rules.collect(), holds })
    }

    /// The first rule that is about this request.
    pub fn find(&self, request: &Request<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_about(request))
    }

    /// Decides, and counts it for this thread.
    pub fn decide(&self, request: &Request<'_>, thread: usize, now: Instant) -> Option<(&Rule, Ruling)> {
        let rule = self.find(request)?;
        let (ruling, outcome) = match &rule.action {
            Action::Allow => (Ruling::Allow, Outcome::First),
            Action::Deny => (Ruling::Deny, Outcome::First),
            Action::Close if request.is_alone() => (Ruling::Close, Outcome::First),
            Action::Close => (Ruling::Deny, Outcome::Second),
            Action::Throttle(meter) => match meter.charge(request.address(), now) {
                Charge::Paid(_) => (Ruling::Pass, Outcome::First),
                Charge::Late(wait) => (Ruling::Late(wait), Outcome::Second),
            },
            Action::Tarpit(time) => match request.is_alone().then(|| self.holds.take(now + *time)).flatten() {
                Some(held) => (Ruling::Hold(held), Outcome::First),
                None => (Ruling::Deny, Outcome::Second),
            },
        };
        rule.counts.add(outcome, thread);
        Some((rule, ruling))
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Answers that are held now.
    pub fn held(&self) -> usize {
        self.holds.held()
    }
}

impl Action {
    /// The same as before if it is the same: nobody gets another burst because the file was touched.
    fn new(text: ActionText, before: Option<&Self>) -> Self {
        match (text, before) {
            (ActionText::Allow, _) => Self::Allow,
            (ActionText::Deny, _) => Self::Deny,
            (ActionText::Close, _) => Self::Close,
            (ActionText::Tarpit(time), _) => Self::Tarpit(time.0),
            (ActionText::Throttle(rate), before) => {
                let rate = Rate { per_second: rate.a_second, burst: rate.at_once };
                match before {
                    Some(Self::Throttle(meter)) if meter.rate == rate => Self::Throttle(Arc::clone(meter)),
                    _ => Self::Throttle(Arc::new(Meter::new(rate, SOURCES))),
                }
            }
        }
    }

    /// What can come of it, for labels.
    fn outcomes(&self) -> &'static [&'static str] {
        match self {
            Self::Allow => &["allowed"],
            Self::Deny => &["denied"],
            Self::Close => &["closed", "denied"],
            Self::Throttle(_) => &["passed", "limited"],
            Self::Tarpit(_) => &["held", "denied"],
        }
    }
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// True if all of its conditions hold.
    pub fn is_about(&self, request: &Request<'_>) -> bool {
        self.all.unmet(request).is_none() && self.none.met(request).is_none()
    }

    /// Why it is not about this request; `None` if it is.
    pub fn why_not(&self, request: &Request<'_>) -> Option<Why> {
        let unmet = self.all.unmet(request).map(|condition| Why::Unmet(self.all.word(condition)));
        unmet.or_else(|| self.none.met(request).map(|condition| Why::Excepted(self.none.word(condition))))
    }

    /// True if what it decides is logged: as it says, and not too often.
    pub fn logs(&self, now: Instant) -> bool {
        // All of a rule is one source.
        let nobody = IpAddr::from([0; 4]);
        self.log.as_ref().is_some_and(|meter| matches!(meter.charge(nobody, now), Charge::Paid(_)))
    }

    /// What came of it so far.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.action.outcomes().iter().copied().zip(self.counts.sums())
    }

    /// What it does, in words.
    pub fn action(&self) -> String {
        match &self.action {
            Action::Allow => "allow: answered, and no budget is charged".into(),
            Action::Deny => "deny: 403".into(),
            Action::Close => "close: the connection ends without an answer".into(),
            Action::Throttle(meter) => {
                let Rate { per_second, burst } = meter.rate;
                format!("throttle: {per_second} a second and {burst} at once for each source, 429 beyond")
            }
            Action::Tarpit(time) => format!("tarpit: 403 after {:.1} s", time.as_secs_f64()),
        }
    }

    /// True if its action answers nobody.
    pub fn refuses(&self) -> bool {
        matches!(self.action, Action::Deny | Action::Close | Action::Tarpit(_))
    }
}

#[cfg(test)]
mod tests;
