//! What the next token of a stream probably is: the one that its predecessor has at the same place, or what zlib finds.
//!
//! A search is what makes deflating slow, and most of it would find what it found a cut ago. So where the bytes are
//! those of the predecessor, its token is taken over with its source moved to where that lies now, unless bytes that
//! changed could offer something nearer; and only there is searched. Both sides predict alike, so only what was
//! predicted wrongly has to be told.

use std::ops::Range;

use super::{
    Old, Params, Token,
    align::{self, Run},
    matcher::{MAX_DISTANCE, Matcher, Tables},
    parse::{Block, Kind, Parser},
};

/// Predicts the tokens of a stream, from its first to its last.
#[derive(Debug)]
pub(super) struct Predictor<'a> {
    matcher: Matcher<'a>,
    is_fast: bool,
    before: Option<Before<'a>>,
}

/// Stands for the run behind the last.
const BEHIND: Run = Run { new: usize::MAX, old: 0, len: 0 };

/// What is known of the predecessor.
#[derive(Debug)]
struct Before<'a> {
    runs: Vec<Run>,
    /// The first run that does not end before the place that is asked for, and which one that is.
    run: Run,
    current: usize,
    /// The positions that have other bytes, up to the next run: those that are to be marked next. And which run that is.
    fresh: Range<usize>,
    next: usize,
    tokens: Tokens<'a>,
}

/// The tokens of the predecessor, by place.
#[derive(Debug)]
struct Tokens<'a> {
    parser: Parser<'a>,
    /// Some that were read ahead, and which of them comes next.
    chunk: Vec<Token>,
    next: usize,
    /// The parser is among the tokens of a block.
    is_within: bool,
    /// Where the token that comes next begins.
    at: usize,
    /// The token that was passed last, and where it begins.
    last: Option<(usize, Token)>,
}

impl<'a> Tokens<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self { parser: Parser::new(stream), chunk: Vec::new(), next: 0, is_within: false, at: 0, last: None }
    }

    /// The token that begins at this place, if one does. Places are asked for in ascending order.
    #[inline]
    fn at(&mut self, place: usize) -> Option<Token> {
        while self.at <= place {
            match self.chunk.get(self.next) {
                Some(&token) => {
                    self.last = Some((self.at, token));
                    self.at += token.len();
                    self.next += 1;
                }
                None => self.read(),
            }
        }
        self.last.filter(|(at, _)| *at == place).map(|(_, token)| token)
    }

    fn read(&mut self) {
        self.chunk.clear();
        self.next = 0;
        if self.is_within {
            // What came before something wrong still counts; there is no next block then.
            self.is_within = self.parser.tokens(&mut self.chunk).unwrap_or(false);
            return;
        }
        match self.parser.block() {
            Ok(Some(Block { kind: Kind::Stored(length), .. })) => self.at += usize::from(length),
            Ok(Some(_)) => self.is_within = true,
            // Whatever is wrong with it, it predicts nothing more.
            Ok(None) | Err(_) => self.at = usize::MAX,
        }
    }
}

impl<'a> Before<'a> {
    fn new(plain: &[u8], old: &Old<'a>) -> Self {
        let runs = align::runs(old.plain, plain);
        let first = runs.first().copied().unwrap_or(BEHIND);
        let tokens = Tokens::new(old.stream);
        Self { run: first, current: 0, fresh: 0..first.new.min(plain.len()), next: 0, runs, tokens }
    }

    /// Marks all positions before this one that have other bytes.
    #[inline]
    fn mark(&mut self, to: usize, matcher: &mut Matcher<'_>) {
        while self.fresh.start < to {
            let end = self.fresh.end.min(to);
            matcher.mark(self.fresh.start, end);
            self.fresh.start = end;
            if end < self.fresh.end {
                return;
            }
            let Some(run) = self.runs.get(self.next) else { return };
            self.next += 1;
            let end = self.runs.get(self.next).map_or(usize::MAX, |next| next.new);
            // Three bytes are one place: those that reach into changed ones are changed.
            self.fresh = run.new + run.len.saturating_sub(2)..end;
        }
    }

    /// True if this place lies in a run, which is the current one then. Places are asked for in ascending order.
    #[inline]
    fn is_known(&mut self, place: usize) -> bool {
        while self.run.new + self.run.len <= place {
            self.current += 1;
            self.run = self.runs.get(self.current).copied().unwrap_or(BEHIND);
        }
        self.run.new <= place
    }

    /// Where a byte of the predecessor lies now, if it is one of those before the current place.
    fn moved(&self, old: usize) -> Option<usize> {
        let known = self.runs.get(..=self.current)?;
        // Nearly always this one or one shortly before, so the search goes back in strides that double.
        let mut stride = 1;
        while known.len().checked_sub(stride).and_then(|at| known.get(at)).is_some_and(|run| run.old > old) {
            stride *= 2;
        }
        let from = known.len().saturating_sub(stride);
        let near = known.get(from..)?.partition_point(|run| run.old <= old);
        let run = known.get((from + near).checked_sub(1)?)?;
        (old - run.old < run.len).then(|| run.new + (old - run.old))
    }

    #[inline]
    fn token(&mut self, place: usize, matcher: &Matcher<'_>) -> Option<Token> {
        if !self.is_known(place) {
            return None;
        }
        let old = self.run.old + (place - self.run.new);
        let token = self.tokens.at(old)?;
        match token {
            Token::Literal(_) => (!matcher.has_fresh(place, place.saturating_sub(MAX_DISTANCE), 3)).then_some(token),
            Token::Match { length, distance } => {
                let source = old.checked_sub(usize::from(distance))?;
                let start = if source >= self.run.old { place - usize::from(distance) } else { self.moved(source)? };
                let distance = place.checked_sub(start).filter(|distance| (1..=32_768).contains(distance))?;
                // The byte behind it, too: it might go on.
                let is_whole = place + usize::from(length) < self.run.new + self.run.len;
                (is_whole && !matcher.has_better(place, start, length.into()))
                    .then(|| Token::Match { length, distance: u16::try_from(distance).unwrap_or(0) })
            }
        }
    }
}

impl<'a> Predictor<'a> {
    pub(super) fn new(plain: &'a [u8], params: Params, old: Option<Old<'a>>, tables: &'a mut Tables) -> Self {
        let before = old.map(|old| Before::new(plain, &old));
        let level = params.level();
        Self { matcher: Matcher::new(plain, level, params.hash_bits(), tables), is_fast: level.is_fast, before }
    }

    /// The token that probably begins at this place. Places are asked for in ascending order.
    #[inline]
    pub(super) fn token(&mut self, place: usize) -> Token {
        let known = self.before.as_mut().and_then(|before| {
            before.mark(place, &mut self.matcher);
            before.token(place, &self.matcher)
        });
        known.unwrap_or_else(|| self.matcher.token(place))
    }

    /// Tells which token it is, or that so many stored bytes are there.
    #[inline]
    pub(super) fn pass(&mut self, place: usize, len: usize) {
        if self.is_fast {
            self.matcher.pass(place, len);
        }
    }
}
