//! Sound packages with bytes changed, cut and moved: never a panic, and what is accepted is true.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let text = "20210606|2000|PEÑA|311|97\n".repeat(40);
    let inner = packed(&[("t.csv", text.as_bytes()), ("LEEME.txt", b"hola")]);
    let mut streamed = zip::ZipWriter::new_stream(vec![]);
    streamed.start_file("s.csv", zip::write::SimpleFileOptions::default()).unwrap();
    streamed.write_all(text.as_bytes()).unwrap();
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    streamed.start_file("n.zip", stored).unwrap();
    streamed.write_all(&inner).unwrap();
    vec![
        difusor_night::hostile::sound(),
        packed(&[("a/b.json", text.as_bytes()), ("in.zip", &inner), ("e", b"")]),
        streamed.finish().unwrap().into_inner(),
    ]
});

#[derive(Debug, Clone)]
enum Change {
    Flip { at: usize, bit: u8 },
    Write { at: usize, bytes: Vec<u8> },
    Cut { at: usize },
    Drop { at: usize, len: usize },
    Splice { from: usize, to: usize, len: usize, other: usize },
}

/// Positions near the end are as likely as all others together: that is where the structures are.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![any::<u16>().prop_map(usize::from), (0_usize..300).prop_map(|back| usize::MAX - back)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (place(), 0_u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        3 => (place(), prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 1..9))
            .prop_map(|(at, bytes)| Change::Write { at, bytes }),
        1 => place().prop_map(|at| Change::Cut { at }),
        1 => (place(), 1_usize..80).prop_map(|(at, len)| Change::Drop { at, len }),
        2 => (place(), place(), 1_usize..200, 0_usize..3)
            .prop_map(|(from, to, len, other)| Change::Splice { from, to, len, other }),
    ]
}

fn within(at: usize, len: usize) -> usize {
    // Both a small number and one counted back from the largest end up where they are meant.
    if at > usize::MAX / 2 { len.saturating_sub(usize::MAX - at) } else { at % (len + 1) }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let len = bytes.len();
    let clip = |at: usize, many: usize| at..(at + many).min(len);
    match change {
        Change::Flip { at, bit } => bytes.iter_mut().skip(within(*at, len)).take(1).for_each(|byte| *byte ^= 1 << bit),
        Change::Write { at, bytes: new } => {
            bytes.iter_mut().skip(within(*at, len)).zip(new).for_each(|(to, from)| *to = *from);
        }
        Change::Cut { at } => bytes.truncate(within(*at, len)),
        Change::Drop { at, len: many } => drop(bytes.drain(clip(within(*at, len), *many))),
        Change::Splice { from, to, len: many, other } => {
            let source = &SOUND[*other];
            let from = within(*from, source.len());
            let piece = source[from..(from + many).min(source.len())].to_vec();
            let to = within(*to, len);
            bytes.splice(to..to, piece);
        }
    }
}

/// Checks all digests against the bytes that the sources give.
///
/// Unlike [`assert_true`], without zlib: a changed bit can leave a stream that zlib calls corrupt and libdeflate
/// inflates to exactly the declared bytes.
fn assert_digests(package: &[u8], ingested: &Ingested) {
    for entry in &ingested.entries {
        let source = ingested.sources.iter().find(|source| source.digest == entry.digest).unwrap();
        let range = source.at as usize..(source.at + source.len) as usize;
        let plain = difusor_proto::codec::decode(source.coding, &package[range], source.size, None).unwrap();
        assert_eq!(
            (entry.size, entry.digest, entry.sha256),
            (plain.len() as u64, Digest::of(&plain), Sha256::of(&plain))
        );
        if !entry.members.is_empty() {
            let inner = try_ingest(&plain).unwrap();
            assert_digests(&plain, &inner);
            for file in inner.entries {
                let member = entry.members.iter().find(|member| member.path == file.path.as_str()).unwrap();
                assert_eq!((member.size, member.digest, member.sha256), (file.size, file.digest, file.sha256));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn never_a_panic_and_never_a_lie(which in 0_usize..3, changes in prop::collection::vec(change(), 1..4)) {
        let mut package = SOUND[which].clone();
        changes.iter().for_each(|change| apply(&mut package, change));
        match try_ingest(&package) {
            Ok(ingested) => assert_digests(&package, &ingested),
            Err(refusal) => {
                prop_assert!(refusal.offset.is_none_or(|offset| offset <= package.len() as u64), "{refusal}");
                prop_assert!(refusal.reason != Reason::Ambiguous || refusal.detail != "the second reader broke down on it");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut package in prop::collection::vec(any::<u8>(), 0..400), zip in any::<bool>()) {
        if zip {
            package.splice(0..0, *b"PK\x03\x04");
            package.extend_from_slice(b"PK\x05\x06");
            package.extend_from_slice(&[0; 18]);
        }
        prop_assert!(try_ingest(&package).is_err());
    }
}
