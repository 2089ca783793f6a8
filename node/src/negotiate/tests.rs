//! Weights as tables, the choice that callers make of them, and whatever bytes a list may have.

use proptest::prelude::*;

use super::*;

fn read(values: &[&str]) -> Accepted {
    let mut lines = Lines::default();
    values.iter().for_each(|value| lines.push(value.as_bytes()));
    accepted(&lines)
}

/// What a caller sends, of forms from the smallest to the largest.
fn chosen(accepted: &Accepted, offered: &[Coding]) -> Option<Coding> {
    let weighed = offered.iter().rev().map(|coding| (accepted.weight(*coding), *coding));
    weighed.filter(|(weight, _)| *weight > 0).max_by_key(|(weight, _)| *weight).map(|(_, coding)| coding)
}

#[test]
fn weights() {
    // identity, gzip, br, zstd
    for (lines, expected) in [
        (&[][..], [1000, 0, 0, 0]),
        (&[""], [1, 0, 0, 0]),
        (&[" , ,"], [1, 0, 0, 0]),
        (&["gzip"], [1, 1000, 0, 0]),
        (&["GZip"], [1, 1000, 0, 0]),
        (&["x-gzip"], [1, 1000, 0, 0]),
        (&["BR", "ZSTD"], [1, 0, 1000, 1000]),
        (&["gzip, deflate"], [1, 1000, 0, 0]),
        (&["gzip, deflate, br"], [1, 1000, 1000, 0]),
        (&["gzip, deflate, br, zstd"], [1, 1000, 1000, 1000]),
        (&["gzip,deflate,br,zstd"], [1, 1000, 1000, 1000]),
        (&["\tgzip\t,\tbr ;q=0.7"], [1, 1000, 700, 0]),
        (&["br;q=1.0, gzip;q=0.8, *;q=0.1"], [1, 800, 1000, 100]),
        (&["deflate"], [1, 0, 0, 0]),
        (&["identity"], [1000, 0, 0, 0]),
        (&["identity;q=0.5, br;q=0.25"], [500, 0, 250, 0]),
        (&["*"], [1, 1000, 1000, 1000]),
        (&["*;q=0.001"], [1, 1, 1, 1]),
        (&["*;q=0"], [0, 0, 0, 0]),
        (&["*;q=0, br"], [0, 0, 1000, 0]),
        (&["*;q=0, identity;q=0.3"], [300, 0, 0, 0]),
        (&["identity;q=0"], [0, 0, 0, 0]),
        (&["identity;q=0, *"], [0, 1000, 1000, 1000]),
        (&["gzip;q=0, *"], [1, 0, 1000, 1000]),
        (&["gzip", "gzip;q=0.5"], [1, 500, 0, 0]),
        (&["gzip;q=0.", "br;q=1.", "zstd;q=1.000"], [1, 0, 1000, 1000]),
        (&["gzip;q=0.12", "br;q=0.999"], [1, 120, 999, 0]),
        (&["gzip; Q = 0.5"], [1, 500, 0, 0]),
        // Malformed members are not there at all.
        (&["gzip;q=2", "br;q=1.001", "zstd;q=0.1234"], [1, 0, 0, 0]),
        (&["gzip;q=-1", "br;q=", "zstd;q"], [1, 0, 0, 0]),
        (&["gzip;level=9", "br;", "zstd;q=0.5;q=0.5"], [1, 0, 0, 0]),
        (&["gzip;q=+1", "br;q=.5", "zstd;q=00.5"], [1, 0, 0, 0]),
        (&["gzip;q=1e0", "br;q=0,5", "zstd q=1"], [1, 0, 0, 0]),
        (&["identity;q=x", "*;q=x"], [1, 0, 0, 0]),
        (&["\u{80}gzip", "gzipx", "b r", "\"zstd\""], [1, 0, 0, 0]),
        (&["gzip;q=x, br"], [1, 0, 1000, 0]),
    ] {
        let accepted = read(lines);
        assert_eq!(Coding::ALL.map(|coding| accepted.weight(coding)), expected, "{lines:?}");
    }
}

#[test]
fn what_is_sent() {
    use Coding::{Brotli, Gzip, Identity, Zstd};
    let (all, gzip, plain) = (&[Brotli, Zstd, Gzip, Identity][..], &[Gzip, Identity][..], &[Identity][..]);
    for (lines, of_all, of_gzip, of_plain) in [
        (&[][..], Some(Identity), Some(Identity), Some(Identity)),
        (&[""], Some(Identity), Some(Identity), Some(Identity)),
        (&["gzip"], Some(Gzip), Some(Gzip), Some(Identity)),
        (&["gzip, deflate, br, zstd"], Some(Brotli), Some(Gzip), Some(Identity)),
        (&["gzip, zstd"], Some(Zstd), Some(Gzip), Some(Identity)),
        (&["gzip, br;q=0.9"], Some(Gzip), Some(Gzip), Some(Identity)),
        (&["br"], Some(Brotli), Some(Identity), Some(Identity)),
        (&["br", "gzip;q=0.5"], Some(Brotli), Some(Gzip), Some(Identity)),
        (&["*;q=0.1"], Some(Brotli), Some(Gzip), Some(Identity)),
        (&["gzip;q=0.001"], Some(Gzip), Some(Gzip), Some(Identity)),
        (&["gzip;q=0.5, identity;q=0.501"], Some(Identity), Some(Identity), Some(Identity)),
        (&["gzip;q=0.5, identity;q=0.5"], Some(Gzip), Some(Gzip), Some(Identity)),
        (&["gzip;q=0.5, *;q=1"], Some(Brotli), Some(Gzip), Some(Identity)),
        (&["identity;q=0, gzip"], Some(Gzip), Some(Gzip), None),
        (&["*;q=0"], None, None, None),
        (&["*;q=0, identity"], Some(Identity), Some(Identity), Some(Identity)),
    ] {
        let accepted = read(lines);
        let got = [all, gzip, plain].map(|offered| chosen(&accepted, offered));
        assert_eq!(got, [of_all, of_gzip, of_plain], "{lines:?}");
    }
}

#[test]
fn what_is_recognised_whole_means_what_its_members_mean() {
    for value in [
        "gzip, deflate, br, zstd",
        "gzip, deflate, br",
        "gzip, br",
        "br, gzip",
        "gzip",
        "gzip, deflate",
        "gzip,deflate",
        "deflate, gzip",
    ] {
        assert_eq!(read(&[value]), read(&["", value]), "{value}");
    }
}

proptest! {
    #[test]
    fn whatever_it_says(lines in proptest::collection::vec("[gzipbrstd,;q=.*01 -]{0,40}", 0..4)) {
        let accepted = read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        for coding in Coding::ALL {
            prop_assert!(accepted.weight(coding) <= FULL);
        }
    }

    #[test]
    fn any_bytes(line in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut lines = Lines::default();
        lines.push(&line);
        accepted(&lines);
    }

    #[test]
    fn weights_are_thousandths(thousandths in 0u16..=1000) {
        let text = format!("gzip;q={}.{:03}", thousandths / 1000, thousandths % 1000);
        prop_assert_eq!(read(&[&text]).weight(Coding::Gzip), thousandths);
    }
}
