//! The index is gone or damaged: it holds nothing that the packs do not hold too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use difusor_night::NightSpec;

use crate::{
    invariants::check,
    rig::{Rig, len, truncate},
    seed::Seed,
};

/// What happens to the index while nobody looks.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Gone,
    Empty,
    Half,
    Noise,
    NoiseAtTheEnd,
}

const ALL: [Damage; 5] = [Damage::Gone, Damage::Empty, Damage::Half, Damage::Noise, Damage::NoiseAtTheEnd];

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl Damage {
    fn strike(self, index: &Path, seed: &mut Seed) {
        if matches!(self, Self::Gone) {
            return fs::remove_dir_all(index).unwrap();
        }
        for file in files(index) {
            let bytes = fs::read(&file).unwrap();
            let noise = |bytes: &mut [u8], seed: &mut Seed| {
                bytes.iter_mut().for_each(|byte| *byte = u8::try_from(seed.next() & 0xff).unwrap());
            };
            match self {
                Self::Gone => {}
                Self::Empty => truncate(&file, 0),
                Self::Half => truncate(&file, len(&file) / 2),
                Self::Noise => {
                    let mut bytes = bytes;
                    noise(&mut bytes, seed);
                    fs::write(&file, bytes).unwrap();
                }
                Self::NoiseAtTheEnd => {
                    let mut bytes = bytes;
                    let from = seed.below(bytes.len());
                    noise(&mut bytes[from..], seed);
                    fs::write(&file, bytes).unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_made_anew_from_the_packs() {
    let mut seed = Seed::new("the_index_is_made_anew_from_the_packs");
    let mut rig = Rig::start(1, NightSpec::tiny()).await;
    rig.publish().await;
    rig.publish().await;
    for damage in ALL {
        println!("{damage:?}");
        rig.mesh.coordinator.stop().await.unwrap();
        damage.strike(&rig.mesh.coordinator.dir().join("store/index"), &mut seed);
        rig.restart_coordinator().await;
        check(&rig, &[]).await;

        let node = &mut rig.mesh.nodes[0].process;
        node.stop().await.unwrap();
        damage.strike(&node.dir().join("store/index"), &mut seed);
        rig.restart_node(0).await;
        check(&rig, &[]).await;
        rig.publish().await;
        check(&rig, &[]).await;
    }
    rig.mesh.stop().await.unwrap();
}
