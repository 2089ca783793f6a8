//! The metrics of the operator's rules. Their names are labels; there are at most
//! [`MAX_RULES`](crate::admission::rules::MAX_RULES) of them, with two series each.

use std::fmt;

use super::{Page, Scrape};

impl Scrape {
    pub(super) fn rules(&self, page: &mut Page<'_>) -> fmt::Result {
        let rules = &self.snapshot.rules;
        page.counters(
            "difusor_rule_requests",
            "Requests that a rule of the operator decided about, by the rule and by what came of them",
            rules
                .counts
                .iter()
                .map(|(rule, outcome, n)| ([("rule", rule.as_str()), ("outcome", outcome.as_str())], *n)),
        )?;
        page.gauge("difusor_rules", None, "Rules of the operator that hold", rules.rules as u64)?;
        page.gauge("difusor_rules_held", None, "Answers that rules hold now", rules.held)?;
        page.counter("difusor_rules_refused", None, "Times that a file of rules could not be used", rules.refused)?;
        let help = "1 while the file of the rules cannot be used, and those of before go on";
        page.gauge("difusor_rules_stale", None, help, u32::from(rules.error.is_some()))
    }
}
