//! The geography of an election: entities, their districts, and which rows and JSON files belong to each.
//!
//! Leaves hold consecutive rows and cover all of them; nodes are what a result file is written for.

use std::ops::Range;

use crate::ballot::{self, Choice, MAX_COLUMNS};
use crate::dialect::Dialect;
use crate::digits::push_padded;
use crate::names;
use crate::prng::{Domain, Stream};

/// Most entities of the federation.
const ENTITIES: usize = 32;

/// The smallest area that has a result file of its own.
pub(crate) struct Leaf {
    /// Number of the entity, from 1.
    pub(crate) entity: usize,
    /// Its rows.
    pub(crate) rows: Range<usize>,
    /// First row of its entity, from which sections are counted.
    pub(crate) entity_start: usize,
    /// Support of each choice here.
    pub(crate) weights: [u64; MAX_COLUMNS],
    /// The fields of entity and district, in the table's charset, with separators on both ends.
    pub(crate) place: Vec<u8>,
}

/// The level of a result file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Nation,
    Entity,
    District,
}

/// An area with a result file.
pub(crate) struct Node {
    pub(crate) level: Level,
    /// Entity, from 1; 0 for the nation.
    pub(crate) entity: usize,
    /// District within the entity, from 1; 0 above districts.
    pub(crate) district: usize,
    pub(crate) name: String,
    /// Its leaves, by position.
    pub(crate) leaves: Range<usize>,
}

/// One election's geography and ballot.
pub(crate) struct Layout {
    pub(crate) election: usize,
    pub(crate) dialect: Dialect,
    pub(crate) columns: Vec<&'static Choice>,
    pub(crate) leaves: Vec<Leaf>,
    /// The nation, then the entities, then the districts.
    pub(crate) nodes: Vec<Node>,
}

impl Layout {
    /// Lays `rows` sheets out over as many areas as there are result files, which must be at least one.
    pub(crate) fn new(seed: u64, election: usize, rows: usize, files: usize) -> Self {
        let entities = files.saturating_sub(1).min(ENTITIES);
        let districts = files.saturating_sub(1 + entities);
        let counts: Vec<usize> = match entities {
            0 => vec![1],
            _ => (0..entities).map(|k| districts / entities + usize::from(k < districts % entities)).collect(),
        };
        let total: usize = counts.iter().map(|count| (*count).max(1)).sum();
        let mut layout = Self {
            election,
            dialect: Dialect::of(election),
            columns: ballot::ballot(election),
            leaves: Vec::with_capacity(total),
            nodes: vec![Node {
                level: Level::Nation,
                entity: 0,
                district: 0,
                name: "NACIONAL".into(),
                leaves: 0..total,
            }],
        };
        let mut below = Vec::new();
        for (entity, count) in (1..).zip(&counts) {
            let first = layout.leaves.len();
            let entity_start = share(rows, first, total);
            let entity_name = names::place(seed, 0, entity);
            for district in 1..=(*count).max(1) {
                let position = layout.leaves.len();
                let name = names::place(seed, entity, district);
                layout.leaves.push(Leaf {
                    entity,
                    rows: share(rows, position, total)..share(rows, position + 1, total),
                    entity_start,
                    weights: weights(seed, election, position, &layout.columns),
                    place: place(layout.dialect, entity, &entity_name, district, &name),
                });
                if *count > 0 && entities > 0 {
                    let leaves = position..position + 1;
                    below.push(Node { level: Level::District, entity, district, name, leaves });
                }
            }
            if entities > 0 {
                let leaves = first..layout.leaves.len();
                layout.nodes.push(Node { level: Level::Entity, entity, district: 0, name: entity_name, leaves });
            }
        }
        layout.nodes.extend(below);
        layout
    }

    /// The leaves of a node.
    pub(crate) fn leaves_of(&self, node: &Node) -> &[Leaf] {
        self.leaves.get(node.leaves.clone()).unwrap_or_default()
    }
}

/// Where part `position` of `parts` begins.
fn share(rows: usize, position: usize, parts: usize) -> usize {
    (rows * position).checked_div(parts).unwrap_or(0)
}

/// National support, bent by up to a half in each district.
fn weights(seed: u64, election: usize, leaf: usize, columns: &[&Choice]) -> [u64; MAX_COLUMNS] {
    let mut stream = Stream::new(seed, Domain::Support, election, leaf);
    let mut weights = [0; MAX_COLUMNS];
    for (weight, choice) in weights.iter_mut().zip(columns) {
        *weight = choice.weight * (64 + stream.below(128));
    }
    weights
}

fn place(dialect: Dialect, entity: usize, entity_name: &str, district: usize, name: &str) -> Vec<u8> {
    let separator = dialect.separator;
    let mut out = vec![separator];
    push_padded(&mut out, entity as u64, 2);
    out.push(separator);
    out.extend(dialect.encode(entity_name));
    out.push(separator);
    push_padded(&mut out, district as u64, 3);
    out.push(separator);
    push_padded(&mut out, district as u64, 3);
    out.extend_from_slice(b". ");
    out.extend(dialect.encode(name));
    out.push(separator);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_a_file_and_every_row_in_one_leaf() {
        for files in [1, 2, 3, 33, 34, 65, 322] {
            let layout = Layout::new(1, 0, 1_000, files);
            assert_eq!(layout.nodes.len(), files);
            let mut next = 0;
            for leaf in &layout.leaves {
                assert_eq!(leaf.rows.start, next);
                next = leaf.rows.end;
            }
            assert_eq!(next, 1_000);
            let entities = layout.nodes.iter().filter(|node| node.level == Level::Entity);
            let covered: usize = entities.map(|node| node.leaves.len()).sum();
            assert!(files == 1 || covered == layout.leaves.len());
        }
    }
}
