//! What a node knows of all others, and who of them should be sent visitors: pure.
//!
//! A node is fit if it is there, says of itself that it is well, is not behind the others, and is not found to be deaf by
//! those who ask it over its public address. That it is gone is found by SWIM, in which others ask for whoever asks; that it is
//! deaf takes more than half of the others. Behind is whoever has not obeyed a flip that is signed, whose instant is over,
//! and that somebody who is fit has obeyed: if all are old, nobody is behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use difusor_proto::{
    NodeId,
    members::{Member, Members},
    peer::{Condition, State},
};
use serde::Serialize;

/// How long after the instant of a flip a node may still be on its way to it, microseconds: by its own word, and as others see
/// it, who hear of it later.
pub const GRACE_US: u64 = 3_000_000;
const GRACE_OF_OTHERS_US: u64 = 6_000_000;

/// How long after the instant of a flip nodes may flip one after another, microseconds: the skew that is allowed.
pub const SKEW_US: u64 = 150_000;

/// How long it takes at most until a node knows who of the others is gone, and what the others have obeyed, microseconds.
const SETTLED_US: u64 = 10_000_000;

/// How long a node that does not see most of the others takes it that they are there, and that visitors reach them, before
/// it serves an older cut than may have been seen; microseconds. It may be the last one.
const ALONE_US: u64 = 60_000_000;

/// How long a node that began may wait for others to say what they serve, microseconds: some handshakes on a path that loses
/// many.
const JOINING_US: u64 = 5_000_000;

/// How long after a coordinator is found it has told what was missed, microseconds: two round trips of the longest path.
const TOLD_US: u64 = 1_000_000;

/// Everything a node knows of the mesh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Which node knows it.
    pub me: Option<NodeId>,
    /// Who is in the mesh; `None` before that was told.
    pub members: Option<Arc<Members>>,
    /// Those who are there.
    pub alive: BTreeSet<NodeId>,
    /// When those came back who were gone, Unix microseconds.
    pub back: BTreeMap<NodeId, u64>,
    /// What they say of themselves.
    pub states: BTreeMap<NodeId, State>,
    /// Who says of whom that it answers, or does not.
    pub witnesses: BTreeMap<NodeId, BTreeMap<NodeId, bool>>,
    /// The last flip: its serial, and its instant by this node's clock, Unix microseconds.
    pub flip: Option<(u64, u64)>,
    /// The middle of what the clocks of others are ahead of ours, microseconds, and of how many.
    pub clock: Option<(i64, usize)>,
}

/// Why a node should not be sent visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// The operator wants it so.
    Drained,
    /// It is not there.
    Gone,
    /// It was not heard of since this node began.
    Unheard,
    /// It says that it ends, or should not be sent anyone.
    Draining,
    /// It says that it is sick.
    Sick,
    /// The others serve a newer cut.
    Behind,
    /// Others ask, and it does not answer as it should.
    Deaf,
}

impl Unfit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Gone => "gone",
            Self::Unheard => "unheard",
            Self::Draining => "draining",
            Self::Sick => "sick",
            Self::Behind => "behind",
            Self::Deaf => "deaf",
        }
    }
}

impl View {
    /// True if a node is there; this one is.
    pub fn is_alive(&self, node: &NodeId) -> bool {
        self.me.as_ref() == Some(node) || self.alive.contains(node)
    }

    /// Serial of the newest flip that the mesh obeys: that somebody who is fit has obeyed, and whose instant is over since
    /// `grace_us`. What is above the last flip that is signed is a word that nobody can check.
    pub fn mark(&self, now_us: u64, grace_us: u64) -> u64 {
        let Some((last, at_us)) = self.flip else { return 0 };
        let is_over = at_us.saturating_add(grace_us) <= now_us;
        let members = self.members.iter().flat_map(|members| &members.nodes);
        let fit =
            members.filter(|member| !member.drained && self.is_alive(&member.node) && !self.is_deaf(&member.node));
        let states = fit.filter_map(|member| self.states.get(&member.node)).filter(|state| state.condition.is_fit());
        // Whoever has obeyed one that is not over has obeyed, or passed over, the one before: who missed that is behind all along.
        let is_early = |serial: u64| serial == last && !is_over;
        let obeyed = states.map(|state| state.serial.min(last));
        obeyed.map(|serial| if is_early(serial) { serial.saturating_sub(1) } else { serial }).max().unwrap_or(0)
    }

    /// True if this node, which has obeyed flips up to `serial`, should let nobody new in: it knows of a flip whose instant is
    /// over, and has not obeyed it. A coordinator that is there is about to bring what it lacks. Otherwise, that somebody has
    /// obeyed it must be known once that can be known; a node that does not see most of the others cannot know.
    pub fn misses(&self, serial: u64, now_us: u64, has_coordinator: bool) -> bool {
        let Some((last, at_us)) = self.flip.filter(|(last, _)| *last > serial) else { return false };
        let since_us = now_us.saturating_sub(at_us);
        // Whoever has obeyed it may be gone, and visitors may have seen what it served.
        let may_have_been_seen = !self.sees_most() || self.states.values().any(|state| state.serial >= last);
        let patience = if may_have_been_seen { ALONE_US } else { SETTLED_US };
        let is_believed = has_coordinator || since_us < patience;
        (since_us >= SKEW_US && is_believed) || self.mark(now_us, GRACE_US) > serial
    }

    /// True if this node, which began `since_us` microseconds ago, and is in touch with the coordinator for so long, if it is,
    /// cannot know yet whether it missed a flip before it began.
    pub fn is_joining(&self, since_us: u64, in_touch_us: Option<u64>) -> bool {
        let is_only = self.members.as_ref().is_none_or(|members| members.nodes.len() < 2);
        let is_early = match in_touch_us {
            // It says what was missed at once.
            Some(in_touch_us) => since_us < JOINING_US || in_touch_us < TOLD_US,
            None => since_us < if self.sees_most() { JOINING_US } else { ALONE_US },
        };
        self.flip.is_none() && !is_only && is_early
    }

    /// True if more than half of the members are there, this one included. Whoever is not among those may be the one that is
    /// cut off.
    pub fn sees_most(&self) -> bool {
        let members = || self.members.iter().flat_map(|members| &members.nodes);
        2 * members().filter(|member| self.is_alive(&member.node)).count() > members().count()
    }

    /// `None` if a member should be sent visitors at Unix microseconds, or why not.
    pub fn unfit(&self, member: &Member, now_us: u64) -> Option<Unfit> {
        self.unfit_below(member, now_us, self.marks(now_us))
    }

    /// The mark for those who were there all along. And for those who were away a moment ago: they may have missed the flip, and
    /// what they said last was before that, so they have no time left for it.
    fn marks(&self, now_us: u64) -> [u64; 2] {
        [GRACE_OF_OTHERS_US, 0].map(|grace_us| self.mark(now_us, grace_us))
    }

    fn unfit_below(&self, member: &Member, now_us: u64, [mark, mark_of_those_back]: [u64; 2]) -> Option<Unfit> {
        let node = &member.node;
        if member.drained {
            return Some(Unfit::Drained);
        }
        if !self.is_alive(node) {
            return Some(if self.states.contains_key(node) { Unfit::Gone } else { Unfit::Unheard });
        }
        let Some(state) = self.states.get(node) else { return Some(Unfit::Unheard) };
        match state.condition {
            Condition::Ready | Condition::Degraded => {}
            Condition::Draining => return Some(Unfit::Draining),
            Condition::Sick => return Some(Unfit::Sick),
        }
        let is_back = self.back.get(node).is_some_and(|at_us| now_us < at_us.saturating_add(GRACE_OF_OTHERS_US));
        if state.serial < if is_back { mark_of_those_back } else { mark } {
            return Some(Unfit::Behind);
        }
        self.is_deaf(node).then_some(Unfit::Deaf)
    }

    /// True if those who ask it say that it does not answer.
    pub fn is_deaf(&self, node: &NodeId) -> bool {
        let Some(voices) = self.witnesses.get(node) else { return false };
        let voices = || voices.iter().filter(|(by, _)| *by != node && self.is_alive(by)).map(|(_, is_well)| *is_well);
        let (ill, well) = (voices().filter(|is_well| !is_well).count(), voices().filter(|is_well| *is_well).count());
        let others = self.members.iter().flat_map(|members| &members.nodes);
        let others = others.filter(|member| member.node != *node && self.is_alive(&member.node)).count();
        ill > well && 2 * ill > others
    }

    /// Every member, and why it should not be sent visitors.
    pub fn all(&self, now_us: u64) -> Vec<(Member, Option<Unfit>)> {
        let marks = self.marks(now_us);
        let members = self.members.iter().flat_map(|members| members.nodes.iter().cloned());
        members
            .map(|member| {
                let unfit = self.unfit_below(&member, now_us, marks);
                (member, unfit)
            })
            .collect()
    }

    /// Other nodes that are there and have a cut of this number or a newer one on disk, those of the same zone first.
    pub fn holders(&self, seq: u64) -> Vec<NodeId> {
        let Some(members) = &self.members else { return Vec::new() };
        let zone = self.me.as_ref().and_then(|me| members.get(me)).map(|member| &member.zone);
        let has = |node: &NodeId| self.states.get(node).is_some_and(|state| state.staged >= seq);
        let holders = members.nodes.iter().filter(|member| self.alive.contains(&member.node) && has(&member.node));
        let (near, far): (Vec<_>, Vec<_>) = holders.partition(|member| Some(&member.zone) == zone);
        near.into_iter().chain(far).map(|member| member.node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use difusor_proto::{Digest, MeshId, members::Reach};

    use super::*;

    fn id(node: &str) -> NodeId {
        node.parse().unwrap()
    }

    fn state(node: &str, serial: u64) -> State {
        State {
            node: id(node),
            version: (1, 1),
            condition: Condition::Ready,
            reasons: 0,
            serial,
            seq: serial,
            staged: serial,
            headroom: 255,
        }
    }

    /// Three nodes that are well and have obeyed flip 5; `a` knows it.
    fn three() -> View {
        let nodes = ["a", "b", "c"];
        let member = |node: &&str| Member {
            node: id(node),
            zone: id(node).as_str().parse().unwrap(),
            certificate: Digest::of(node.as_bytes()),
            reach: Reach::default(),
            drained: false,
        };
        let members = Members {
            mesh: MeshId::of_key(b"k"),
            serial: 1,
            nodes: nodes.iter().map(member).collect(),
            texts: Vec::new(),
        };
        View {
            me: Some(id("a")),
            members: Some(Arc::new(members)),
            alive: ["b", "c"].map(id).into(),
            states: nodes.iter().map(|node| (id(node), state(node, 5))).collect(),
            flip: Some((5, 1_000)),
            ..View::default()
        }
    }

    fn unfit(view: &View, now: u64) -> Vec<(String, Option<Unfit>)> {
        view.all(now).into_iter().map(|(member, unfit)| (member.node.to_string(), unfit)).collect()
    }

    fn only(view: &View, now: u64) -> Option<(String, Unfit)> {
        let all = unfit(view, now).into_iter().filter_map(|(node, why)| Some((node, why?)));
        let all: Vec<_> = all.collect();
        assert!(all.len() <= 1, "{all:?}");
        all.into_iter().next()
    }

    #[test]
    fn whoever_is_gone_or_sick_is_out() {
        let mut view = three();
        assert_eq!(only(&view, 9_000_000), None);
        view.alive.remove(&id("b"));
        assert_eq!(only(&view, 9_000_000), Some(("b".into(), Unfit::Gone)));
        view.states.remove(&id("b"));
        assert_eq!(only(&view, 9_000_000), Some(("b".into(), Unfit::Unheard)));
        for (condition, why) in [(Condition::Sick, Unfit::Sick), (Condition::Draining, Unfit::Draining)] {
            let mut view = three();
            view.states.get_mut(&id("a")).unwrap().condition = condition;
            assert_eq!(only(&view, 9_000_000), Some(("a".into(), why)));
        }
        let mut view = three();
        view.states.get_mut(&id("c")).unwrap().condition = Condition::Degraded;
        assert_eq!(only(&view, 9_000_000), None);
        Arc::make_mut(view.members.as_mut().unwrap()).nodes[2].drained = true;
        assert_eq!(only(&view, 9_000_000), Some(("c".into(), Unfit::Drained)));
    }

    #[test]
    fn whoever_missed_a_flip_knows_at_once() {
        let mut view = three();
        let misses = |view: &View, now| view.misses(4, now, false);
        let [soon, late, later] = [SKEW_US, SETTLED_US, ALONE_US].map(|wait| 1_000 + wait);
        // All flip together, more or less.
        assert_eq!([soon - 1, soon, late - 1, late].map(|now| misses(&view, now)), [false, true, true, true]);
        assert!(!view.misses(5, late, true));
        // Nobody has obeyed it after all.
        view.states.values_mut().for_each(|state| state.serial = 4);
        assert_eq!([late - 1, late].map(|now| misses(&view, now)), [true, false]);
        assert!(view.misses(4, late, true) && !view.misses(4, soon - 1, true), "the coordinator brings it");
        // Who sees one of two others sees most; who sees none cannot know, and may be the last one.
        view.alive.remove(&id("b"));
        assert_eq!([late - 1, late].map(|now| misses(&view, now)), [true, false]);
        view.states.get_mut(&id("b")).unwrap().serial = 5;
        assert_eq!([late, later].map(|now| misses(&view, now)), [true, false], "it had obeyed, and is gone");
        view.states.get_mut(&id("b")).unwrap().serial = 4;
        view.alive.clear();
        assert_eq!([late, later - 1, later].map(|now| misses(&view, now)), [true, true, false]);
        view.flip = None;
        assert!(!view.misses(0, late, true));
        let joins = |since| [Some(0), Some(TOLD_US), None].map(|in_touch| view.is_joining(since, in_touch));
        let joins = [JOINING_US - 1, JOINING_US, ALONE_US].map(joins);
        assert_eq!(joins, [[true, true, true], [true, false, true], [true, false, false]]);
        view.flip = Some((1, 0));
        assert!(!view.is_joining(0, None));
        assert!(!View::default().is_joining(0, None));
    }

    #[test]
    fn whoever_is_behind_the_others_is_out_and_all_alike_are_not() {
        let mut view = three();
        view.states.get_mut(&id("b")).unwrap().serial = 4;
        // Its instant is not long ago.
        assert_eq!(only(&view, 1_000 + GRACE_OF_OTHERS_US - 1), None);
        assert_eq!(only(&view, 1_000 + GRACE_OF_OTHERS_US), Some(("b".into(), Unfit::Behind)));
        assert_eq!((view.mark(1_000 + GRACE_US - 1, GRACE_US), view.mark(1_000 + GRACE_US, GRACE_US)), (4, 5));
        // A number that no flip has, whoever says it.
        view.states.get_mut(&id("b")).unwrap().serial = 5;
        view.states.get_mut(&id("c")).unwrap().serial = u64::MAX;
        assert_eq!(only(&view, 9_000_000), None);
        // A flip that nobody has obeyed who is fit: all are equally old.
        view.flip = Some((6, 1_000));
        view.states.get_mut(&id("c")).unwrap().serial = 6;
        let behind = |view: &View| unfit(view, 9_000_000).iter().filter(|(_, why)| *why == Some(Unfit::Behind)).count();
        assert_eq!(behind(&view), 2);
        view.states.get_mut(&id("c")).unwrap().condition = Condition::Sick;
        assert_eq!(only(&view, 9_000_000), Some(("c".into(), Unfit::Sick)));
        view.states.get_mut(&id("c")).unwrap().condition = Condition::Ready;
        view.alive.remove(&id("c"));
        assert_eq!(only(&view, 9_000_000), Some(("c".into(), Unfit::Gone)));
    }

    #[test]
    fn whoever_was_away_for_a_flip_has_no_time_left_for_it() {
        let mut view = three();
        view.states.get_mut(&id("b")).unwrap().serial = 4;
        assert_eq!(only(&view, 2_000), None);
        view.back.insert(id("b"), 1_500);
        assert_eq!(only(&view, 2_000), Some(("b".into(), Unfit::Behind)));
        // It says that it has obeyed; and at the next flip it is one like all others.
        view.states.get_mut(&id("b")).unwrap().serial = 5;
        assert_eq!(only(&view, 2_000), None);
        let later = 1_500 + GRACE_OF_OTHERS_US;
        (view.flip, view.states.get_mut(&id("a")).unwrap().serial) = (Some((6, later)), 6);
        assert_eq!(only(&view, later + 1), None);
    }

    #[test]
    fn whoever_is_behind_stays_so_over_the_next_flip() {
        let mut view = three();
        view.states.get_mut(&id("b")).unwrap().serial = 4;
        assert_eq!(only(&view, 9_000_000), Some(("b".into(), Unfit::Behind)));
        // The others obey the next one, which is not over yet.
        view.flip = Some((6, 9_000_000));
        for node in ["a", "c"] {
            view.states.get_mut(&id(node)).unwrap().serial = 6;
        }
        assert_eq!(only(&view, 9_000_001), Some(("b".into(), Unfit::Behind)));
        // One that has the last but one is on its way.
        view.states.get_mut(&id("b")).unwrap().serial = 5;
        assert_eq!(only(&view, 9_000_001), None);
    }

    #[test]
    fn more_than_half_of_the_others_say_that_a_node_is_deaf() {
        let mut view = three();
        let say = |view: &mut View, by: &str, is_well| {
            view.witnesses.entry(id("b")).or_default().insert(id(by), is_well);
        };
        say(&mut view, "a", false);
        assert_eq!(only(&view, 9_000_000), None, "one voice");
        say(&mut view, "c", true);
        assert_eq!(only(&view, 9_000_000), None, "one against one");
        say(&mut view, "c", false);
        assert_eq!(only(&view, 9_000_000), Some(("b".into(), Unfit::Deaf)));
        // What a node says of itself here is worth nothing.
        say(&mut view, "b", true);
        assert_eq!(only(&view, 9_000_000), Some(("b".into(), Unfit::Deaf)));
        // The voice of one that is gone does not count, and then one is all there is.
        view.alive.remove(&id("c"));
        let all = unfit(&view, 9_000_000);
        assert_eq!((all[1].1, all[2].1), (Some(Unfit::Deaf), Some(Unfit::Gone)));
    }
}
