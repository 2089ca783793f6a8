//! Ranges as tables, the rules of `If-Range`, and what holds of whatever is asked.

use proptest::prelude::*;

use super::*;

fn read(values: &[&str], len: u64) -> Ranges {
    let mut lines = Lines::default();
    values.iter().for_each(|value| lines.push(value.as_bytes()));
    select(&lines, len)
}

#[test]
fn of_a_thousand_bytes() {
    use Ranges::{All, Many, One, Unsatisfiable};
    for (value, expected) in [
        ("bytes=0-499", One(0..500)),
        ("bytes=500-999", One(500..1000)),
        ("bytes=0-0", One(0..1)),
        ("bytes=999-999", One(999..1000)),
        ("bytes=0-", One(0..1000)),
        ("bytes=999-", One(999..1000)),
        ("bytes=900-5000", One(900..1000)),
        ("bytes=-1", One(999..1000)),
        ("bytes=-1000", One(0..1000)),
        ("bytes=-5000", One(0..1000)),
        ("bytes=007-8", One(7..9)),
        ("BYTES=0-1", One(0..2)),
        ("  bytes=0-1\t", One(0..2)),
        ("bytes= 0-1 ", One(0..2)),
        ("bytes=,0-1,,", One(0..2)),
        ("bytes=0-18446744073709551615", One(0..1000)),
        ("bytes=0-99999999999999999999999999", One(0..1000)),
        ("bytes=-99999999999999999999999999", One(0..1000)),
        // Nothing of it is there.
        ("bytes=1000-", Unsatisfiable),
        ("bytes=1000-2000", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=99999999999999999999999999-", Unsatisfiable),
        ("bytes=18446744073709551615-18446744073709551615", Unsatisfiable),
        ("bytes=1000-,-0,2000-3000", Unsatisfiable),
        // Several.
        ("bytes=0-0,-1", Many(vec![0..1, 999..1000])),
        ("bytes=-1,0-0", Many(vec![999..1000, 0..1])),
        ("bytes= 0-9 ,\t20-29 , 40-49", Many(vec![0..10, 20..30, 40..50])),
        ("bytes=500-599,0-99", Many(vec![500..600, 0..100])),
        ("bytes=0-9,2000-3000", One(0..10)),
        ("bytes=0-9,2000-3000,20-29", Many(vec![0..10, 20..30])),
        // What overlaps or touches is one.
        ("bytes=0-99,50-149", One(0..150)),
        ("bytes=0-99,100-149", One(0..150)),
        ("bytes=100-149,0-99", One(0..150)),
        ("bytes=0-99,10-19", One(0..100)),
        ("bytes=0-0,0-0", One(0..1)),
        ("bytes=0-9,20-29,10-19", One(0..30)),
        ("bytes=0-9,500-509,20-29,10-19", Many(vec![0..30, 500..510])),
        ("bytes=500-509,20-29,0-9,10-19", Many(vec![500..510, 0..30])),
        ("bytes=0-499,500-999", One(0..1000)),
        // More than it is worth.
        ("bytes=0-,0-", All),
        ("bytes=0-,-1", All),
        ("bytes=0-499,400-999", All),
        ("bytes=0-9,5-14,12-20", All),
        ("bytes=0-9,5-14,100-109,105-114", All),
        ("bytes=0-1,0-1,0-1", All),
        // Malformed, or of another unit.
        ("", All),
        ("bytes", All),
        ("bytes=", All),
        ("bytes=,", All),
        ("bytes=-", All),
        ("bytes=5", All),
        ("bytes=a-b", All),
        ("bytes=0x0-1", All),
        ("bytes=+0-1", All),
        ("bytes=0--1", All),
        ("bytes=--1", All),
        ("bytes=0 -1", All),
        ("bytes=0- 1", All),
        ("bytes=1-0", All),
        ("bytes=5000-4000", All),
        ("bytes=0-1,5-4", All),
        ("bytes=0-1,x", All),
        ("bytes=0-1;2-3", All),
        ("bytes 0-1", All),
        ("bytes =0-1", All),
        ("bytes: 0-1", All),
        ("byte=0-1", All),
        ("lines=0-1", All),
        ("bytes=0-1/2", All),
        ("bytes=0-1\u{80}", All),
    ] {
        assert_eq!(read(&[value], 1000), expected, "{value}");
    }
    assert_eq!(read(&[], 1000), All);
    assert_eq!(read(&["bytes=0-1", "bytes=2-3"], 1000), All);
}

#[test]
fn of_nothing() {
    use Ranges::{All, Unsatisfiable};
    for (value, expected) in [
        ("bytes=0-", Unsatisfiable),
        ("bytes=0-0", Unsatisfiable),
        ("bytes=5-9", Unsatisfiable),
        ("bytes=-0", Unsatisfiable),
        ("bytes=0-,1-", Unsatisfiable),
        ("bytes=-1", All),
        ("bytes=0-,-1", All),
        ("bytes=x", All),
    ] {
        assert_eq!(read(&[value], 0), expected, "{value}");
    }
}

#[test]
fn of_as_much_as_can_be() {
    assert_eq!(read(&["bytes=0-"], u64::MAX), Ranges::One(0..u64::MAX));
    assert_eq!(read(&["bytes=-18446744073709551614"], u64::MAX), Ranges::One(1..u64::MAX));
    assert_eq!(read(&["bytes=0-,0-"], u64::MAX), Ranges::All);
}

#[test]
fn sixteen_parts_and_no_more() {
    let asked = |count: u64| {
        let parts: Vec<_> = (0..count).map(|at| format!("{}-{}", at * 10, at * 10 + 4)).collect();
        read(&[&format!("bytes={}", parts.join(","))], 1000)
    };
    assert_eq!(asked(16), Ranges::Many((0..16).map(|at| at * 10..at * 10 + 5).collect()));
    assert_eq!(asked(17), Ranges::All);
    assert_eq!(asked(1300), Ranges::All);
    // What is not there is counted too.
    let absent = format!("bytes=0-0{}", ",2000-".repeat(16));
    assert_eq!(read(&[&absent], 1000), Ranges::All);
}

#[test]
fn if_range() {
    const SAME: &str = "Mon, 07 Jun 2021 01:40:00 GMT";
    for (values, plain, with_codings) in [
        (&[][..], true, true),
        (&["\"abc\""], true, true),
        (&[" \"abc\"\t"], true, true),
        (&["W/\"abc\""], false, false),
        (&["\"x\""], false, false),
        (&["abc"], false, false),
        (&["*"], false, false),
        (&["\"abc\", \"x\""], false, false),
        (&["\"abc\"", "\"abc\""], false, false),
        (&[""], false, false),
        (&[SAME], true, false),
        (&["Monday, 07-Jun-21 01:40:00 GMT"], true, false),
        (&["Mon, 07 Jun 2021 01:40:01 GMT"], false, false),
        (&["Mon, 07 Jun 2021 01:39:59 GMT"], false, false),
        (&["today"], false, false),
        (&[SAME, SAME], false, false),
    ] {
        let mut lines = Lines::default();
        values.iter().for_each(|value| lines.push(value.as_bytes()));
        let got = [true, false].map(|identity_only| applies(&lines, b"\"abc\"", 1_623_030_000, identity_only));
        assert_eq!(got, [plain, with_codings], "{values:?}");
    }
}

#[test]
fn values_of_content_range() {
    assert_eq!(content_range(&(0..500), 1234), "bytes 0-499/1234");
    assert_eq!(content_range(&(1233..1234), 1234), "bytes 1233-1233/1234");
    assert_eq!(unsatisfied(1234), "bytes */1234");
}

/// What holds of every answer.
fn check(ranges: &Ranges, len: u64) {
    let parts = match ranges {
        Ranges::All | Ranges::Unsatisfiable => return,
        Ranges::One(part) => std::slice::from_ref(part),
        Ranges::Many(parts) => parts,
    };
    assert!(matches!(ranges, Ranges::One(_)) || (2..=MOST).contains(&parts.len()));
    let mut sorted = parts.to_vec();
    sorted.sort_by_key(|part| part.start);
    for part in &sorted {
        assert!(part.start < part.end && part.end <= len, "{part:?} of {len}");
    }
    assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start), "{sorted:?}");
}

/// Bytes that are asked for, by the letter of the RFC.
fn wanted(specs: &[(Option<u64>, Option<u64>)], len: u64) -> Vec<bool> {
    (0..len)
        .map(|at| {
            specs.iter().any(|spec| match *spec {
                (Some(first), last) => first <= at && last.is_none_or(|last| at <= last),
                (None, Some(suffix)) => at >= len.saturating_sub(suffix),
                (None, None) => false,
            })
        })
        .collect()
}

proptest! {
    #[test]
    fn any_bytes(value in proptest::collection::vec(any::<u8>(), 0..60), len in any::<u64>()) {
        let mut lines = Lines::default();
        lines.push(&value);
        check(&select(&lines, len), len);
        applies(&lines, b"\"abc\"", len, true);
    }

    #[test]
    fn nearly_ranges(list in "[0-9, -]{0,60}", len in 0u64..200) {
        check(&read(&[&format!("bytes={list}")], len), len);
    }

    #[test]
    fn what_is_asked_for_is_what_is_given(
        specs in proptest::collection::vec((proptest::option::of(0u64..250), proptest::option::of(0u64..250)), 1..6),
        len in 1u64..200,
    ) {
        let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let list: Vec<_> = specs.iter().map(|(first, last)| format!("{}-{}", text(*first), text(*last))).collect();
        let ranges = read(&[&format!("bytes={}", list.join(","))], len);
        check(&ranges, len);
        let valid = specs.iter().all(|spec| match spec {
            (None, None) => false,
            (Some(first), Some(last)) => first <= last,
            _ => true,
        });
        let wanted = wanted(&specs, len);
        let given = match &ranges {
            Ranges::All => return Ok(()),
            Ranges::Unsatisfiable => vec![],
            Ranges::One(part) => vec![part.clone()],
            Ranges::Many(parts) => parts.clone(),
        };
        prop_assert!(valid);
        for (at, wanted) in (0..len).zip(wanted) {
            prop_assert_eq!(given.iter().any(|part| part.contains(&at)), wanted, "{} of {}", at, len);
        }
    }

    /// Parts that do not touch come as they were asked for.
    #[test]
    fn order_is_kept(order in Just((0u64..16).collect::<Vec<_>>()).prop_shuffle(), count in 2usize..=16) {
        let parts: Vec<_> = order.into_iter().take(count).map(|at| at * 10..at * 10 + 3).collect();
        let list: Vec<_> = parts.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
        prop_assert_eq!(read(&[&format!("bytes={}", list.join(","))], 1000), Ranges::Many(parts));
    }
}
