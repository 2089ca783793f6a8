//! Every hostile package is refused, for its own reason, at its own entry and byte, soon.

use std::time::{Duration, Instant};

use difusor_night::hostile;

use super::*;

/// More than any of them takes on a loaded machine; a bomb that went off would take minutes.
const SOON: Duration = Duration::from_secs(30);

fn on_threads(threads: usize, package: &Bytes) -> Result<Ingested, Refusal> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| ingest(package, &Caps::default(), &()))
}

#[test]
fn each_is_refused_for_its_reason() {
    let mut wrong = vec![];
    for case in hostile::all() {
        let started = Instant::now();
        match try_ingest(&case.bytes) {
            Ok(_) => wrong.push(format!("{}: accepted", case.name)),
            Err(refusal) => {
                let entry = case.entry.is_none_or(|entry| refusal.entry.as_deref() == Some(entry));
                let offset = case.offset.is_none_or(|offset| refusal.offset == Some(offset));
                if !entry || !offset || !case.reasons.contains(&refusal.reason.code()) {
                    wrong.push(format!("{}: {refusal} (offset {:?})", case.name, case.offset));
                }
            }
        }
        assert!(started.elapsed() < SOON, "{} took {:?}", case.name, started.elapsed());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_package_they_are_made_from_is_accepted() {
    let sound = hostile::sound();
    let ingested = try_ingest(&sound).unwrap();
    assert_eq!(ingested.entries.len(), 2);
    assert_true(&sound, &ingested);
}

#[test]
fn the_refusal_does_not_depend_on_the_threads() {
    for case in hostile::all().into_iter().filter(|case| case.bytes.len() < 4 << 20) {
        let package = Bytes::from(case.bytes);
        let one = on_threads(1, &package).unwrap_err();
        assert_eq!(on_threads(5, &package).unwrap_err(), one, "{}", case.name);
    }
}

#[test]
fn the_lowest_of_many_bad_entries_is_named() {
    // The higher, the larger, and so the earlier it is worked on.
    let files: Vec<(String, String)> =
        (0..60).map(|at| (format!("{at:02}.txt"), "a line of text\n".repeat(200 + 9 * at))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    let mut package = packed(&files);
    let archive = zip::ZipArchive::new(Cursor::new(&package)).unwrap();
    let mut data: Vec<usize> = vec![];
    for at in [17, 30, 59] {
        data.push(archive.by_index_data(at).unwrap().header_start() as usize + 36);
    }
    drop(archive);
    data.iter().for_each(|at| package[*at] = 7);
    for threads in [1, 2, 7] {
        let refusal = on_threads(threads, &Bytes::copy_from_slice(&package)).unwrap_err();
        assert_eq!((refusal.reason, refusal.entry.as_deref()), (Reason::DamagedStream, Some("17.txt")));
        let offset = refusal.offset.unwrap() as usize;
        assert!((data[0]..data[0] + 4).contains(&offset), "{offset} {data:?}");
    }
}

#[test]
fn caps_are_caps() {
    let sound = Bytes::from(hostile::sound());
    let reason = |caps: Caps| ingest(&sound, &caps, &()).unwrap_err().reason;
    let caps = Caps::default;
    assert_eq!(reason(Caps { package_bytes: 100, ..caps() }), Reason::TooLarge);
    assert_eq!(reason(Caps { entries: 2, ..caps() }), Reason::TooManyEntries);
    assert_eq!(reason(Caps { plain_bytes: 1000, ..caps() }), Reason::Bomb);
    assert_eq!(reason(Caps { file_bytes: 1000, ..caps() }), Reason::Bomb);
    assert_eq!(reason(Caps { ratio: 1, ..caps() }), Reason::Bomb);
}

#[test]
fn inner_archives_use_up_the_same_caps() {
    let text: String = (0..400_u64).map(|row| format!("{:x}\n", row.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let first = packed(&[("a.csv", &[b'a'; 5000]), ("b.csv", &[b'b'; 5000])]);
    let second = packed(&[("a.csv", &[b'a'; 5000]), ("b.csv", text.as_bytes())]);
    // The second is worked on first, being larger, and still is the one that does not fit any more.
    assert!(second.len() > first.len());
    let package = Bytes::from(packed(&[("1.zip", &first), ("2.zip", &second)]));
    let plain = (first.len() + second.len() + 15_000 + text.len()) as u64;
    let fits = Caps { entries: 6, plain_bytes: plain, ..Caps::default() };
    assert_eq!(ingest(&package, &fits, &()).unwrap().entries.len(), 2);
    let refused = |caps| ingest(&package, &caps, &()).unwrap_err();
    let few = refused(Caps { entries: 5, ..fits.clone() });
    assert_eq!((few.reason, few.entry.as_deref()), (Reason::TooManyEntries, Some("2.zip")));
    let short = refused(Caps { plain_bytes: plain - 1, ..fits });
    assert_eq!((short.reason, short.entry.as_deref()), (Reason::Bomb, Some("2.zip!/b.csv")));
}
