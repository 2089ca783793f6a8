//! What the operator's rules make of a request, before anything else is done for it.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{Visit, visitor};
use crate::{
    admission::rules::{Ruling, conditions::Request},
    block::Block,
    body::Body,
    engine::{Aside, Sink},
    head::{Head, Method},
    pages::Kind,
};

/// What follows from the rules.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Usual,
    /// It is answered, and no budget is charged.
    Allowed,
    /// This is the answer.
    Answered(Body),
}

impl Visit {
    /// Tries the rules, and writes the answer if it is theirs.
    pub(super) fn rule(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Verdict {
        let counter = Rc::clone(&self.counter);
        let rules = counter.rules.borrow();
        let Some(rules) = &*rules else { return Verdict::Usual };
        let request = Request::new(visitor(&counter.trust, self.peer, head), head);
        // What a proxy says on its own connection it says for everyone behind it.
        let request = if counter.trust.includes(self.peer) { request.among_others() } else { request };
        // Exactly: what is held is held for as long as it says.
        let now = Instant::now();
        let Some((rule, ruling)) = rules.decide(&request, counter.thread, now) else { return Verdict::Usual };
        self.logged.replace(rule.logs(now).then(|| Arc::clone(rule.name())));
        let (kind, retry) = match ruling {
            Ruling::Allow => return Verdict::Allowed,
            Ruling::Pass => return Verdict::Usual,
            Ruling::Deny => (Kind::Forbidden, None),
            Ruling::Close => {
                self.aside = Some(Aside::Closed);
                (Kind::Forbidden, None)
            }
            Ruling::Hold(held) => {
                // What came in one batch is held together, in one place.
                self.aside.get_or_insert(Aside::Held(held));
                (Kind::Forbidden, None)
            }
            Ruling::Late(wait) => (Kind::TooMany, Some(wait.as_millis().div_ceil(1000).max(1).to_string())),
        };
        let page = counter.pages.get(kind);
        let retry = retry.map(|seconds| Block::new([("retry-after", seconds.as_str())]));
        let tick = counter.tick.borrow();
        let life = tick.block(page.class, self.seed);
        match &retry {
            Some(retry) => sink.head(page.status, &[&page.fields, retry, life]),
            None => sink.head(page.status, &[&page.fields, life]),
        }
        let body = if head.method == Method::Head { Body::empty() } else { Body::new(page.html.clone()) };
        let draw = counter.sampler.borrow_mut().draw();
        let who = counter.who(visitor(&counter.trust, self.peer, head));
        self.note(who, Some((head, None)), page.status, &body, None, (draw, None));
        Verdict::Answered(body)
    }
}
