//! What it costs to take a deflate stream apart and to make it again, beside stock zlib that deflates the same bytes.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use difusor_coordinator::ingest::{self, Caps};
use difusor_night::{Night, NightSpec};
use difusor_proto::codec;
use difusor_proto::deflate::{self, Old, Params};
use difusor_proto::opened::Member;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};

/// Runs of each figure; the median counts.
const RUNS: usize = 3;

/// The cut, of 101, whose streams are described, and the one before it.
const CUT: usize = 51;

/// The largest table of a cut, on one core, and all streams of that cut.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recipes {
    pub(super) plain_bytes: u64,
    pub(super) stream_bytes: u64,
    /// zlib at the level of the stream.
    pub(super) zlib_s: f64,
    pub(super) alone: Recipe,
    /// With the stream of the cut before as its predecessor.
    pub(super) with_predecessor: Recipe,
    pub(super) streams: usize,
    /// Streams that need no correction, without a predecessor.
    pub(super) exact: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) describe_s: f64,
    pub(super) rebuild_s: f64,
    pub(super) corrections: usize,
    /// Of the whole recipe, compressed as it travels.
    pub(super) bytes: usize,
}

pub(super) fn measure(spec: &NightSpec) -> anyhow::Result<Recipes> {
    let night = Night::new(NightSpec { cuts: 101, nested: false, ..spec.clone() })?;
    let (before, after) = (night.package(CUT - 1).bytes, night.package(CUT).bytes);
    let [held, members] = [&before, &after].map(|package| ingest::streams(package, &Caps::default()));
    let table = members.iter().max_by_key(|member| member.size).context("no stream")?;
    let same = held.iter().find(|member| member.name == table.name).context("no predecessor")?;
    let (stream, plain) = opened(&after, table)?;
    let (old_stream, old_plain) = opened(&before, same)?;
    let zlib_s = median(|| {
        let mut encoder = DeflateEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::new(6));
        encoder.write_all(&plain)?;
        anyhow::ensure!(encoder.finish()? == stream, "zlib makes another stream");
        Ok(())
    })?;
    let old = Old { plain: &old_plain, stream: old_stream };
    let mut exact = 0;
    for member in &members {
        let (stream, plain) = opened(&after, member)?;
        let params = deflate::guess(stream, &plain, Params::default())?;
        exact += usize::from(deflate::describe(stream, &plain, params, None)?.corrections() == 0);
    }
    Ok(Recipes {
        plain_bytes: table.size,
        stream_bytes: table.len,
        zlib_s,
        alone: recipe(stream, &plain, None)?,
        with_predecessor: recipe(stream, &plain, Some(old))?,
        streams: members.len(),
        exact,
    })
}

fn recipe(stream: &[u8], plain: &[u8], old: Option<Old<'_>>) -> anyhow::Result<Recipe> {
    let describe = || Ok(deflate::describe(stream, plain, deflate::guess(stream, plain, Params::default())?, old)?);
    let recipe = describe()?;
    let describe_s = median(|| describe().map(drop))?;
    let rebuild_s = median(|| {
        anyhow::ensure!(deflate::rebuild(plain, &recipe, old)? == stream, "a recipe makes another stream");
        Ok(())
    })?;
    let bytes = codec::compress(&postcard::to_stdvec(&recipe)?)?.len();
    Ok(Recipe { describe_s, rebuild_s, corrections: recipe.corrections(), bytes })
}

fn opened<'a>(package: &'a [u8], member: &Member) -> anyhow::Result<(&'a [u8], Vec<u8>)> {
    let (at, len) = (usize::try_from(member.at)?, usize::try_from(member.len)?);
    let stream = package.get(at..at + len).context("a stream outside its package")?;
    Ok((stream, codec::inflate(stream, member.size)?))
}

fn median(mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times.get(RUNS / 2).copied().context("no run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_night() {
        let spec = NightSpec { rows: 600, ..NightSpec::tiny() };
        let recipes = measure(&spec).unwrap();
        assert!(recipes.streams > 10 && recipes.exact == recipes.streams, "{recipes:?}");
        assert!(recipes.alone.corrections == 0 && recipes.with_predecessor.corrections > 0, "{recipes:?}");
    }
}
