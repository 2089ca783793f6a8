//! A node under siege: it serves a real cut, its coordinator is gone, a rogue has taken its place. When the siege is over,
//! nothing of it may have left a trace.

use difusor_coordinator::{
    delta::{Deltas, Effort, Item},
    run::Ready,
    state::State,
};
use difusor_proto::{
    CutKey, Flip, FlipKind, Manifest, Mark, Signed, SigningKey, VerifyingKey,
    store::Store,
    wire::{CloseCode, DeltaHead, List},
};

use crate::{
    rig::{PATIENCE, Rig, Served, refused_by, served, status},
    rogue::{Rogue, Victim},
};

pub(crate) struct Siege {
    rig: Rig,
    pub(crate) rogue: Rogue,
    /// The key that signs for this mesh. Only for attacks of whoever holds it, and to make what is old or of elsewhere.
    pub(crate) key: SigningKey,
    /// Three cuts: the node holds the first two, and serves the second. The third is real, and flipped nowhere yet.
    pub(crate) cuts: [CutKey; 3],
    pub(crate) signed: [Signed<Manifest>; 3],
    pub(crate) manifests: [Manifest; 3],
    /// What a holder of the second cut lacks for the third.
    pub(crate) items: Vec<Item>,
    /// The same, taken apart as for a slow link.
    pub(crate) thin: Vec<Item>,
    /// What a holder of the first cut lacked for the second.
    pub(crate) old_items: Vec<Item>,
    /// The last flip that the real coordinator made.
    pub(crate) flip: Signed<Flip>,
    served: Served,
    mark: Mark,
}

impl Siege {
    pub(crate) async fn lay() -> Self {
        let mut rig = Rig::start(1).await;
        let (first, second) = (rig.publish().await, rig.publish().await);
        rig.mesh.nodes[0].process.stop().await.unwrap();
        let third = rig.hand_in().await;
        rig.mesh.coordinator.stop().await.unwrap();

        let home = rig.home();
        let key = home.read_signing_key().unwrap();
        let flip = State::open(home.state()).unwrap().flip().cloned().unwrap();
        let cuts = [first, second, third];
        let (store, _) = Store::open(&home.store()).unwrap();
        let signed = cuts.map(|cut| store.manifest(&cut).unwrap().unwrap());
        let manifests = signed.each_ref().map(|signed| signed.open(&key.verifying_key()).unwrap());
        let deltas = Deltas::new(store, key.verifying_key(), 0);
        let items = deltas.between(Some(&second), &third, Effort::Whole).unwrap().items.clone();
        let thin = deltas.between(Some(&second), &third, Effort::Apart).unwrap().items.clone();
        let old_items = deltas.between(Some(&first), &second, Effort::Whole).unwrap().items.clone();
        drop(deltas);

        let rogue = Rogue::listen(&rig, &rig.authority().coordinator_identity().unwrap());
        let node = &mut rig.mesh.nodes[0].process;
        node.spawn().unwrap();
        node.ready::<difusor_node::run::Ready>().await.unwrap();
        let served = served(&rig.mesh, &rig.mesh.nodes[0]).await;
        let mark = status(&rig.mesh.nodes[0]).await.unwrap().mark;
        assert_eq!(mark.root, Some(second.root));
        Self { rig, rogue, key, cuts, signed, manifests, items, thin, old_items, flip, served, mark }
    }

    pub(crate) fn public(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// The next connection of the node, welcomed.
    pub(crate) async fn victim(&self) -> Victim {
        let victim = self.rogue.welcome(&self.public()).await;
        // Whatever was tried before: these are the cuts it says it has.
        assert_eq!(victim.hello.holds, [self.cuts[1], self.cuts[0]]);
        assert_eq!(victim.hello.mark, self.mark);
        victim
    }

    /// What opens the delta to the third cut.
    pub(crate) fn head(&self) -> DeltaHead {
        let [.., before, signed] = self.signed.as_slice() else { unreachable!() };
        DeltaHead {
            cut: self.cuts[2],
            list: Some(List::since(before, signed).unwrap()),
            items: u32::try_from(self.items.len()).unwrap(),
            bytes: self.items.iter().map(|item| item.head.len).sum(),
        }
    }

    /// A flip of this mesh that is newer than any that was made.
    pub(crate) fn order(&self, cut: CutKey, kind: FlipKind) -> Flip {
        Flip { mesh: self.public().mesh(), serial: self.mark.serial + 1, cut, at_us: 0, kind }
    }

    pub(crate) async fn counted(&self, reason: &str) -> u64 {
        refused_by(&self.rig.mesh.nodes[0], reason).await
    }

    pub(crate) async fn peak_rss(&self) -> u64 {
        status(&self.rig.mesh.nodes[0]).await.unwrap().peak_rss
    }

    /// One attack, in a connection of its own. The node must close it with `code`, count it, and serve on.
    pub(crate) async fn attack(&self, what: &str, code: CloseCode, attack: impl AsyncFnOnce(&mut Victim)) {
        let before = self.counted(code.name()).await;
        let mut victim = self.victim().await;
        attack(&mut victim).await;
        assert_eq!(victim.closed().await, code, "{what}");
        self.repelled(what, code.name(), before).await;
    }

    /// The node has counted the attack, and nothing else about it is different.
    pub(crate) async fn repelled(&self, what: &str, reason: &str, before: u64) {
        let counted = async || self.counted(reason).await > before;
        crate::rig::until(&format!("the node counts `{reason}` for: {what}"), counted).await;
        self.unmoved(what).await;
    }

    /// What is served, and what may be served, is what it was.
    pub(crate) async fn unmoved(&self, what: &str) {
        let node = &self.rig.mesh.nodes[0];
        assert!(
            served(&self.rig.mesh, node).await == self.served,
            "after this, the node serves something else: {what}"
        );
        let status = status(node).await.unwrap();
        assert_eq!((status.mark, status.serves), (self.mark, Some(self.cuts[1])), "{what}");
    }

    /// The real coordinator comes back, and so does everything else: the same process of the node catches up.
    pub(crate) async fn lift(self) {
        let Self { mut rig, rogue, cuts, .. } = self;
        let pid = rig.mesh.nodes[0].process.pid();
        rogue.leave().await;
        let coordinator = &mut rig.mesh.coordinator;
        coordinator.spawn().unwrap();
        coordinator.ready::<Ready>().await.unwrap();
        rig.mesh.wait_served(&cuts[2], PATIENCE).await.unwrap();
        rig.publish().await;
        assert_eq!(rig.mesh.nodes[0].process.pid(), pid);
        rig.mesh.stop().await.unwrap();
    }
}
