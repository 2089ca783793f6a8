//! When a connection is overdue: one deadline in every state, and a pace for those that take what they asked for.

use std::{task::Context, time::Instant};

use super::{Broken, Connection, LINGER, PARTING, Phase};
use crate::{admission::offenders::Offence, engine::State};

/// How often the pace is looked at while it is measured: so much sooner, too, ends who takes nothing when hardly a place is
/// left.
const LOOKS: u32 = 12;

/// A client that has to take something: since when it is watched, and what it had taken by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    /// When that was last looked at.
    looked: Instant,
    taken: u64,
}

impl Connection<'_> {
    /// The timer, and the call to drain. Each is polled once to be heard, and then only looked at.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let is_first = !self.is_armed;
        if !self.is_draining && (is_first || self.front.drain.is_cancelled()) && self.drain.as_mut().poll(cx).is_ready()
        {
            self.is_draining = true;
            self.held = None;
            match &mut self.phase {
                // The request may be on its way already: the handshake is finished first.
                Phase::Preamble(_) | Phase::Handshake | Phase::Flushing | Phase::Lingering => {}
                Phase::Open { engine, .. } => {
                    engine.drain();
                    self.is_told = true;
                    self.part();
                }
            }
        }
        self.is_armed = true;
        while is_first || self.timer.is_elapsed() {
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if self.held.take_if(|held| held.until() <= now).is_some() {
                self.beat = now;
            }
            if self.parting.take_if(|told| *told + PARTING <= now).is_some()
                && let Phase::Open { engine, .. } = &mut self.phase
            {
                engine.overdue(&mut self.desk);
            }
            self.check_pace(now)?;
            let deadline = self.deadline();
            if deadline > now {
                // Phones leave their network without saying so: whoever is silent for long is asked, once.
                if let Phase::Open { engine, .. } = &mut self.phase
                    && engine.state() == State::Idle
                    && self.held.is_none()
                {
                    engine.ping();
                }
                self.timer.as_mut().reset(deadline.into());
                if self.timer.as_mut().poll(cx).is_pending() {
                    break;
                }
                continue;
            }
            self.overdue()?;
            self.timer.as_mut().reset((now + LINGER).into());
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        Ok(())
    }

    /// When this connection is overdue, or to be looked at.
    fn deadline(&self) -> Instant {
        let limits = &self.front.limits;
        if let Some(held) = &self.held {
            return held.until();
        }
        let mut end = match &self.phase {
            Phase::Preamble(_) | Phase::Handshake => self.accepted + limits.handshake,
            Phase::Open { .. } if self.requests == 0 => self.accepted + limits.head,
            Phase::Open { engine, is_h1: true } if engine.state() == State::Idle => self.beat + limits.head,
            Phase::Open { .. } | Phase::Flushing if self.is_cut => self.beat + LINGER,
            Phase::Open { .. } | Phase::Flushing => self.beat + limits.stall,
            Phase::Lingering => self.beat + LINGER,
        };
        if let Some(pace) = &self.pace {
            end = end.min(pace.looked + limits.pace / LOOKS);
        }
        self.parting.map_or(end, |told| end.min(told + PARTING))
    }

    /// The client was told that this connection ends. Polled again soon, the timer is heard.
    pub(super) fn part(&mut self) {
        let now = Instant::now();
        self.parting = Some(now);
        self.timer.as_mut().reset((now + PARTING).into());
    }

    /// Everything that could be done is done for now. Whoever leaves something of an answer lying is watched, until it has
    /// taken all of it.
    pub(super) fn rest(&mut self, cx: &mut Context<'_>) {
        let has_to_take = match &self.phase {
            Phase::Open { engine, .. } => engine.state() == State::Busy || self.owes_body,
            Phase::Flushing => self.owes_body,
            _ => false,
        };
        if !has_to_take {
            self.pace = None;
        } else if self.pace.is_none() {
            let since = self.front.counter.now();
            self.pace = Some(Pace { since, looked: since, taken: self.taken });
            if let Phase::Open { engine, .. } = &mut self.phase {
                engine.spare();
            }
            let look = (since + self.front.limits.pace / LOOKS).into();
            if self.timer.deadline() > look {
                self.timer.as_mut().reset(look);
                let _ = self.timer.as_mut().poll(cx);
            }
        }
    }

    /// A client that takes less than the slowest line could is one that holds what it asked for.
    fn check_pace(&mut self, now: Instant) -> Result<(), Broken> {
        let limits = &self.front.limits;
        let Some(pace) = &mut self.pace else { return Ok(()) };
        if pace.looked + limits.pace / LOOKS > now {
            return Ok(());
        }
        pace.looked = now;
        // Who holds without taking goes sooner the fewer places are left for others.
        let patience = limits.pace.mul_f64(self.place.free().max(1.0 / f64::from(LOOKS)));
        if now - pace.since < patience {
            return Ok(());
        }
        let took = self.taken - pace.taken;
        // A late look forgives nothing.
        let expected = u128::from(limits.slowest) * (now - pace.since).as_millis() / 1000;
        if u128::from(took) < expected {
            return Err(Broken::Stalled);
        }
        *pace = Pace { since: now, looked: now, taken: self.taken };
        Ok(())
    }

    fn overdue(&mut self) -> Result<(), Broken> {
        match &mut self.phase {
            Phase::Preamble(_) | Phase::Handshake => return Err(Broken::Handshake),
            Phase::Open { engine, .. } if engine.state() == State::Idle => {
                // A connection that was used and rests is let go without a word in the counters.
                if self.requests == 0 || !self.input.is_empty() {
                    self.front.counter.tally.cut_off();
                    self.front.counter.trouble(self.peer);
                }
                // Browsers open connections that they never use; half a request is another matter.
                if !self.input.is_empty() {
                    self.front.counter.door.blame(self.peer, Offence::Stalled, Instant::now());
                }
                engine.overdue(&mut self.desk);
                self.beat = Instant::now();
            }
            Phase::Open { .. } | Phase::Flushing => return Err(Broken::Stalled),
            Phase::Lingering => self.is_ended = true,
        }
        Ok(())
    }
}
