//! Streams of zlib and of others, with and without predecessors, and recipes that are wrong.

use std::io::Write as _;

use flate2::{Compression, write::DeflateEncoder};
use proptest::prelude::*;

use super::*;

/// What stock zlib makes of it.
fn deflate(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Rows like those of tally sheets; one in `filled` is filled in.
fn rows(count: usize, filled: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut out = b"PREP 2024\n2024-06-02 20:00\n".to_vec();
    for at in 0..count {
        let mix = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (state, section) = (at % 32, at / 3);
        write!(out, "{at:06},{state:02},{section:04},B{},", at % 3).unwrap();
        if filled(at) {
            let votes = (0..9).map(|party| (mix >> (party * 7) & 0x7f).to_string()).collect::<Vec<_>>().join(",");
            writeln!(out, "{votes},{:016x}{:016x},Contabilizada", mix, mix.rotate_left(17) ^ 0x55).unwrap();
        } else {
            writeln!(out, ",,,,,,,,,,Sin acta").unwrap();
        }
    }
    out
}

fn round_trip(stream: &[u8], plain: &[u8], params: Params, old: Option<Old<'_>>) -> Recipe {
    let recipe = describe(stream, plain, params, old).unwrap();
    assert!(rebuild(plain, &recipe, old).unwrap() == stream, "{params:?}");
    let bytes = postcard::to_stdvec(&recipe).unwrap();
    assert_eq!(postcard::from_bytes::<Recipe>(&bytes).unwrap(), recipe);
    recipe
}

#[test]
fn zlib_needs_no_corrections() {
    let plain = rows(20_000, |at| at % 3 > 0);
    for level in 1..=9 {
        let stream = deflate(&plain, level);
        let params = Params { level: level as u8, memory: 8 };
        let recipe = round_trip(&stream, &plain, params, None);
        let size = postcard::to_stdvec(&recipe).unwrap().len();
        assert_eq!((recipe.corrections(), recipe.kinds_of_blocks()), (0, 1), "level {level}: {recipe:?}");
        assert!(size < 32, "level {level}: {size} bytes");
    }
}

#[test]
fn what_changed_is_all_that_a_recipe_holds() {
    let (before, after) = (rows(20_000, |at| at % 3 == 0), rows(20_000, |at| at % 3 == 0 || at % 50 == 1));
    let (old, new) = (deflate(&before, 6), deflate(&after, 6));
    let old = Old { plain: &before, stream: &old };
    let recipe = round_trip(&new, &after, Params::default(), Some(old));
    let corrections = recipe.corrections();
    assert!(corrections * 200 < after.len() / 4, "{corrections} corrections for {} bytes", after.len());
}

#[test]
fn corrections_of_every_length_and_distance() {
    // Literals alone are predicted by a stream that has no matches: it stores everything.
    for (length, far) in (3..=258).map(|length| (length, 32_506)).chain((1..400).map(|far| (258, far * 81))) {
        let noise: Vec<u8> =
            (0..far as u64).flat_map(|at| blake3::hash(&at.to_le_bytes()).as_bytes()[..1].to_vec()).collect();
        let repeated: Vec<u8> = noise.iter().cycle().take(length).copied().collect();
        let plain = [&noise[..], &repeated, &[noise[length % noise.len()] ^ 1]].concat();
        let stream = deflate(&plain, 9);
        let wrong = Params { level: 1, memory: 1 };
        round_trip(&stream, &plain, wrong, None);
        // The predecessor has other bytes at the end, and no match there.
        let before = [&noise[..], &repeated.iter().map(|byte| !byte).collect::<Vec<_>>()].concat();
        let old = deflate(&before, 0);
        round_trip(&stream, &plain, wrong, Some(Old { plain: &before, stream: &old }));
    }
}

#[test]
fn levels_are_guessed() {
    let plain = rows(8_000, |at| at % 2 > 0);
    for level in 1..=9 {
        let stream = deflate(&plain, level);
        let params = guess(&stream, &plain, Params { level: 1, memory: 9 }).unwrap();
        assert_eq!(params.memory, 8);
        // Another level will do that finds the same, or nearly.
        let corrections = round_trip(&stream, &plain, params, None).corrections();
        assert!(corrections < 100, "level {level} taken for {}: {corrections}", params.level);
    }
}

#[test]
fn other_programs_have_recipes_too() {
    let plain = rows(3_000, |at| at % 2 > 0);
    for level in [1, 6, 12] {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
        let mut stream = vec![0; compressor.deflate_compress_bound(plain.len())];
        let len = compressor.deflate_compress(&plain, &mut stream).unwrap();
        stream.truncate(len);
        let recipe = round_trip(&stream, &plain, guess(&stream, &plain, Params::default()).unwrap(), None);
        assert!(recipe.corrections() > 0);
        let old = Old { plain: &plain, stream: &stream };
        assert_eq!(round_trip(&stream, &plain, Params::default(), Some(old)).corrections(), 0, "as before");
    }
}

#[test]
fn blocks_of_every_kind() {
    let noise: Vec<u8> = (0..200_000_u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as u8).collect();
    for plain in [&b""[..], b"a", b"ab", b"abc", b"aaaaaaaaaaaaaaaaaaaaaaaa", &[0; 70_000], &noise] {
        for level in 0..=9 {
            round_trip(&deflate(plain, level), plain, Params { level: level as u8, memory: 8 }, None);
        }
    }
}

#[test]
fn streams_that_are_none() {
    let plain = rows(500, |_| true);
    let stream = deflate(&plain, 6);
    let params = Params::default();
    assert_eq!(describe(&stream[..stream.len() / 2], &plain, params, None), Err(DeflateError::Truncated));
    assert!(matches!(describe(&stream, &plain[..100], params, None), Err(DeflateError::Damaged(_))));
    let longer = [stream.as_slice(), b"x"].concat();
    assert_eq!(describe(&longer, &plain, params, None), Err(DeflateError::Damaged("bytes behind the end")));
    let recipe = describe(&stream, &plain, params, None).unwrap();
    assert!(rebuild(&plain[..plain.len() - 1], &recipe, None).map_or(true, |other| other != stream));
    assert!(rebuild(b"", &recipe, None).is_err());
}

proptest! {
    #[test]
    fn any_plain_bytes(plain in prop::collection::vec(0_u8..5, 0..3000), level in 0..=9_u32) {
        let stream = deflate(&plain, level);
        let recipe = round_trip(&stream, &plain, Params { level: level as u8, memory: 8 }, None);
        if level > 0 {
            prop_assert_eq!(recipe.corrections(), 0);
        }
    }

    #[test]
    fn any_predecessor(old in prop::collection::vec(0_u8..5, 0..2000), new in prop::collection::vec(0_u8..5, 0..2000), level in 1..=9_u32) {
        let stream = deflate(&old, 6);
        round_trip(&deflate(&new, level), &new, Params::default(), Some(Old { plain: &old, stream: &stream }));
    }

    #[test]
    fn arbitrary_streams_never_panic(stream in prop::collection::vec(any::<u8>(), 0..300), plain in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(recipe) = describe(&stream, &plain, Params::default(), None) {
            // Plain bytes are not compared when a stream is described, so what is rebuilt may be another.
            let _ = rebuild(&plain, &recipe, None);
        }
        let _ = guess(&stream, &plain, Params::default());
        let _ = describe(&deflate(&plain, 6), &plain, Params::default(), Some(Old { plain: &stream, stream: &stream }));
    }

    #[test]
    fn arbitrary_recipes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), plain in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(recipe) = postcard::from_bytes::<Recipe>(&bytes)
            && let Ok(stream) = rebuild(&plain, &recipe, None)
        {
            prop_assert_eq!(stream.len() as u64, recipe.len());
        }
    }
}
