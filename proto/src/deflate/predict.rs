//! What the next token of a stream probably is: the one that its predecessor has at the same place, or what zlib finds.
//!
//! A search is what makes deflating slow, and most of it would find what it found a cut ago. So where the bytes are
//! those of the predecessor, its token is taken over with its source moved to where that lies now, unless bytes that
//! changed could offer something nearer; and only there is searched. Both sides predict alike, so only what was
//! predicted wrongly has to be told.

use super::{
    Old, Params, Token,
    align::{self, Run},
    matcher::{MAX_DISTANCE, Matcher},
    parse::{Event, Kind, Parser},
};

/// Predicts the tokens of a stream, from its first to its last.
#[derive(Debug)]
pub(super) struct Predictor<'a> {
    plain: &'a [u8],
    matcher: Matcher<'a>,
    is_fast: bool,
    before: Option<Before<'a>>,
}

/// What is known of the predecessor.
#[derive(Debug)]
struct Before<'a> {
    runs: Vec<Run>,
    /// The first run that does not end before the place that is asked for.
    current: usize,
    /// Up to where positions were entered, and the first run that does not end before that.
    entered: (usize, usize),
    tokens: Tokens<'a>,
}

/// The tokens of the predecessor, by place.
#[derive(Debug)]
struct Tokens<'a> {
    parser: Parser<'a>,
    /// Where the token that comes next begins.
    at: usize,
    /// The token that was read last, and where it begins.
    last: Option<(usize, Token)>,
}

impl Tokens<'_> {
    /// The token that begins at this place, if one does. Places are asked for in ascending order.
    fn at(&mut self, place: usize) -> Option<Token> {
        while self.at <= place {
            match self.parser.next() {
                Ok(Some(Event::Token(token))) => {
                    self.last = Some((self.at, token));
                    self.at += token.len();
                }
                Ok(Some(Event::Block { kind: Kind::Stored(length), .. })) => self.at += usize::from(length),
                Ok(Some(_)) => {}
                // Whatever is wrong with it, it predicts nothing more.
                Ok(None) | Err(_) => self.at = usize::MAX,
            }
        }
        self.last.filter(|(at, _)| *at == place).map(|(_, token)| token)
    }
}

impl Before<'_> {
    /// The run that a place lies in, if one does. Places are asked for in ascending order.
    fn run(&mut self, place: usize) -> Option<Run> {
        while self.runs.get(self.current).is_some_and(|run| run.new + run.len <= place) {
            self.current += 1;
        }
        self.runs.get(self.current).copied().filter(|run| run.new <= place)
    }

    /// Where a byte of the predecessor lies now, if it is one of those before the current place.
    fn moved(&self, old: usize) -> Option<usize> {
        let known = self.runs.get(..=self.current)?;
        let run = known.iter().rev().find(|run| run.old <= old)?;
        (old - run.old < run.len).then(|| run.new + (old - run.old))
    }

    fn token(&mut self, place: usize, matcher: &Matcher<'_>) -> Option<Token> {
        let run = self.run(place)?;
        let old = run.old + (place - run.new);
        let token = self.tokens.at(old)?;
        match token {
            Token::Literal(_) => {
                let from = place.saturating_sub(MAX_DISTANCE);
                let may_match = matcher.may_have_changed(place, from) || matcher.may_have_changed(place + 1, from);
                (!may_match).then_some(token)
            }
            Token::Match { length, distance } => {
                let start = self.moved(old.checked_sub(usize::from(distance))?)?;
                let distance = place.checked_sub(start).filter(|distance| (1..=32_768).contains(distance))?;
                // The byte behind it, too: it might go on.
                let is_whole = place + usize::from(length) < run.new + run.len;
                (is_whole && !matcher.may_have_changed(place, start))
                    .then(|| Token::Match { length, distance: u16::try_from(distance).unwrap_or(0) })
            }
        }
    }
}

impl<'a> Predictor<'a> {
    pub(super) fn new(plain: &'a [u8], params: Params, old: Option<Old<'a>>) -> Self {
        let before = old.map(|Old { plain: old, stream }| Before {
            runs: align::runs(old, plain),
            current: 0,
            entered: (0, 0),
            tokens: Tokens { parser: Parser::new(stream), at: 0, last: None },
        });
        let level = params.level();
        Self { plain, matcher: Matcher::new(plain, level, params.hash_bits()), is_fast: level.is_fast, before }
    }

    /// The token that probably begins at this place. Places are asked for in ascending order.
    #[inline]
    pub(super) fn token(&mut self, place: usize) -> Token {
        self.enter(place);
        let known = self.before.as_mut().and_then(|before| before.token(place, &self.matcher));
        known.unwrap_or_else(|| {
            let is_changed = self.before.as_mut().is_some_and(|before| before.run(place).is_none());
            self.matcher.token(place, is_changed)
        })
    }

    /// Tells which token it is, or that so many stored bytes are there.
    #[inline]
    pub(super) fn pass(&mut self, place: usize, len: usize) {
        if self.is_fast {
            self.matcher.pass(place, len);
        }
    }

    /// Enters all positions before this one.
    fn enter(&mut self, to: usize) {
        if self.is_fast {
            return;
        }
        let Some(before) = &mut self.before else { return self.matcher.enter(to, false) };
        let to = to.min(self.plain.len());
        while before.entered.0 < to {
            let (at, current) = before.entered;
            // Three bytes are one place: those that reach into changed ones are changed.
            let (end, is_changed) = match before.runs.get(current) {
                None => (to, true),
                Some(run) if at < run.new => (run.new, true),
                Some(run) if at + 2 < run.new + run.len => (run.new + run.len - 2, false),
                Some(run) => (run.new + run.len, true),
            };
            let end = end.min(to);
            self.matcher.enter(end, is_changed);
            before.entered.0 = end;
            if before.runs.get(current).is_some_and(|run| run.new + run.len <= end) {
                before.entered.1 += 1;
            }
        }
    }
}
