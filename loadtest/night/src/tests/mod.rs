//! Whole nights, at the smallest scale.

mod content;
mod packages;

use std::collections::BTreeMap;

use crate::{Night, NightSpec};

fn night(change: impl Fn(&mut NightSpec)) -> Night {
    let mut spec = NightSpec::tiny();
    change(&mut spec);
    Night::new(spec).unwrap()
}

fn files(night: &Night, i: usize) -> BTreeMap<String, Vec<u8>> {
    night.entries(i).into_iter().collect()
}
