//! Right answers, and every way of being wrong.

use super::*;
use crate::flips::{forms::coded, oracle::File};

/// Twenty cuts, of which the 15th is confirmed and the 16th handed over.
struct Scene {
    oracle: Oracle,
    forms: Forms,
}

const CONFIRMED: u64 = 15;
const SUBMITTED: u64 = 16;

fn data(seq: u64) -> Vec<u8> {
    format!("{{\"cut\":{seq}}}").repeat(40).into_bytes()
}

fn scene() -> Scene {
    let mut oracle = Oracle::default();
    for seq in 1..=20 {
        let own = format!("{seq}.zip");
        let files = [("index.html", b"page".to_vec()), ("a.json", data(seq)), (&own, data(seq))];
        oracle.add(&format!("label{seq}"), files.iter().map(|(name, bytes)| (*name, File::of(bytes))));
    }
    Scene { oracle, forms: Forms::default() }
}

fn asked(name: &str) -> Asked {
    Asked {
        name: name.into(),
        is_head: false,
        accept: "gzip, br, zstd",
        known: None,
        part: None,
        page: None,
        seen: CONFIRMED,
        confirmed: CONFIRMED,
    }
}

/// An answer of this cut; its length is that of the body.
fn got(status: u16, cut: u64, body: &[u8], fields: &[(&'static str, &str)]) -> Got {
    let mut headers = HeaderMap::new();
    headers.insert(CUT, format!("label{cut}/{cut}").parse().unwrap());
    headers.insert("content-length", body.len().into());
    for (name, value) in fields {
        headers.insert(*name, value.parse().unwrap());
    }
    Got { status, headers, body: Bytes::copy_from_slice(body), submitted: SUBMITTED, at: Instant::now() }
}

/// The file of this cut, plain.
fn json(cut: u64) -> Got {
    got(200, cut, &data(cut), &[("etag", &format!("\"{cut}\""))])
}

fn known(cut: u64) -> Known {
    let (name, tag) = ("a.json".to_owned(), format!("\"{cut}\""));
    let plain = blake3::hash(&data(cut));
    Known { name, tag, coding: Coding::Identity, plain, body: data(cut).into() }
}

impl Scene {
    fn right(&self, asked: &Asked, got: &Got) -> Verdict {
        judge(&self.oracle, &self.forms, asked, got).unwrap()
    }

    #[track_caller]
    fn wrong(&self, kind: Kind, asked: &Asked, got: &Got) {
        let fault = judge(&self.oracle, &self.forms, asked, got).unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
    }
}

#[test]
fn the_confirmed_cut_and_the_one_that_comes() {
    let scene = scene();
    for cut in [15, 16] {
        let verdict = scene.right(&asked("a.json"), &json(cut));
        assert_eq!((verdict.cut, verdict.current), (cut, cut));
        assert_eq!(verdict.known.unwrap().plain, blake3::hash(&data(cut)));
    }
    // What every cut has says nothing about which one is served.
    let page = got(200, 16, b"page", &[("etag", "\"p\"")]);
    assert_eq!(scene.right(&asked(""), &page).current, 16);
}

#[test]
fn cuts_out_of_turn() {
    let scene = scene();
    scene.wrong(Kind::OlderThanSeen, &asked("a.json"), &json(14));
    scene.wrong(Kind::OlderThanSeen, &Asked { seen: 16, ..asked("a.json") }, &json(15));
    scene.wrong(Kind::OlderThanConfirmed, &Asked { seen: 3, ..asked("a.json") }, &json(14));
    scene.wrong(Kind::Unpublished, &asked("a.json"), &json(17));
    for name in ["label15/14", "label21/21", "15", ""] {
        let got = got(200, 15, &data(15), &[("etag", "\"15\""), (CUT, name)]);
        scene.wrong(Kind::Unnamed, &asked("a.json"), &got);
    }
    let mut unnamed = json(15);
    unnamed.headers.remove(CUT);
    scene.wrong(Kind::Unnamed, &asked("a.json"), &unnamed);
}

#[test]
fn files_of_earlier_cuts() {
    let scene = scene();
    let past = |cut: u64| got(200, cut, &data(cut), &[("etag", &format!("\"{cut}\""))]);
    for cut in 5..=16 {
        let verdict = scene.right(&asked(&format!("{cut}.zip")), &past(cut));
        assert_eq!((verdict.cut, verdict.current), (cut, cut.max(CONFIRMED)));
    }
    // Cut 4 is addressable until cut 15 only.
    assert_eq!(scene.right(&asked("4.zip"), &past(4)).current, 15);
    scene.wrong(Kind::OlderThanSeen, &Asked { seen: 16, ..asked("4.zip") }, &past(4));
    scene.wrong(Kind::OlderThanSeen, &asked("3.zip"), &past(3));
    // A file of one cut in the name of another.
    scene.wrong(Kind::WrongCut, &asked("9.zip"), &past(16));
    scene.wrong(Kind::WrongCut, &asked("nothing"), &past(15));
}

#[test]
fn nothing_there() {
    let scene = scene();
    let none = |cut| got(404, cut, b"nothing here", &[]);
    assert_eq!(scene.right(&asked("nothing"), &none(15)).current, 15);
    assert_eq!(scene.right(&asked("16.zip"), &none(15)).current, 15);
    assert_eq!(scene.right(&asked("4.zip"), &none(16)).current, 16);
    scene.wrong(Kind::Missing, &asked("a.json"), &none(15));
    scene.wrong(Kind::Missing, &asked("16.zip"), &none(16));
    scene.wrong(Kind::Missing, &asked("4.zip"), &none(15));
    scene.wrong(Kind::OlderThanSeen, &asked("15.zip"), &none(14));
    scene.wrong(Kind::Length, &asked("nothing"), &got(404, 15, b"nothing", &[("content-length", "3")]));
}

#[test]
fn other_statuses() {
    let scene = scene();
    for status in [301, 308, 400, 416, 429, 500, 503] {
        scene.wrong(Kind::Status, &asked("a.json"), &got(status, 15, b"", &[]));
    }
    scene.wrong(Kind::Status, &asked("a.json"), &got(304, 15, b"", &[("etag", "\"15\"")]));
    scene.wrong(Kind::Status, &asked("a.json"), &got(206, 15, b"", &[("etag", "\"15\"")]));
}

#[test]
fn every_coding() {
    let scene = scene();
    for (coding, body) in coded(&data(15)) {
        let tag = format!("\"{}\"", coding.name());
        let fields = [("etag", tag.as_str()), ("content-encoding", coding.name())];
        let fields = if coding == Coding::Identity { &fields[..1] } else { &fields };
        scene.right(&asked("a.json"), &got(200, 15, &body, fields));
        scene.wrong(Kind::OtherCut, &asked("a.json"), &got(200, 16, &body, fields));
        if coding != Coding::Identity {
            scene.wrong(Kind::Coding, &Asked { accept: "", ..asked("a.json") }, &got(200, 15, &body, fields));
            let torn = &body[..body.len() - 2];
            scene.wrong(Kind::Tag, &asked("a.json"), &got(200, 15, torn, fields));
            let fresh = [("etag", "\"fresh\""), ("content-encoding", coding.name())];
            scene.wrong(Kind::Coding, &asked("a.json"), &got(200, 15, &data(15), &fresh));
        }
    }
    scene.wrong(Kind::Coding, &asked("a.json"), &got(200, 15, b"", &[("etag", "\"x\""), ("content-encoding", "x")]));
}

#[test]
fn other_bytes() {
    let scene = scene();
    scene.right(&asked("a.json"), &json(15));
    scene.wrong(Kind::OtherCut, &asked("a.json"), &got(200, 15, &data(16), &[("etag", "\"16\"")]));
    scene.wrong(Kind::Bytes, &asked("a.json"), &got(200, 15, &data(15)[1..], &[("etag", "\"short\"")]));
    let mut mixed = data(15);
    mixed.splice(..100, data(16).into_iter().take(100));
    scene.wrong(Kind::Bytes, &asked("a.json"), &got(200, 15, &mixed, &[("etag", "\"mixed\"")]));
    scene.wrong(Kind::Tag, &asked("a.json"), &got(200, 16, &data(16), &[("etag", "\"15\"")]));
    for tag in ["W/\"15\"", "15", "\""] {
        scene.wrong(Kind::Tag, &asked("a.json"), &got(200, 15, &data(15), &[("etag", tag)]));
    }
    for length in ["480", "x", ""] {
        let fields = [("etag", "\"15\""), ("content-length", length)];
        scene.wrong(Kind::Length, &asked("a.json"), &got(200, 15, &data(15), &fields));
    }
}

#[test]
fn heads_without_bodies() {
    let scene = scene();
    let head = Asked { is_head: true, ..asked("a.json") };
    let answer = |cut, length: usize, tag: &str, coding: Option<&str>| {
        let length = length.to_string();
        let mut fields = vec![("etag", tag), ("content-length", length.as_str())];
        fields.extend(coding.map(|coding| ("content-encoding", coding)));
        got(200, cut, b"", &fields)
    };
    let len = data(15).len();
    assert!(scene.right(&head, &answer(15, len, "\"15\"", None)).known.is_none());
    scene.wrong(Kind::Length, &head, &answer(15, len + 1, "\"15\"", None));
    scene.wrong(Kind::Length, &head, &got(200, 15, &data(15), &[("etag", "\"15\""), ("content-length", "1")]));
    scene.wrong(Kind::Length, &head, &got(200, 15, b"", &[("etag", "\"15\""), ("content-length", "")]));
    let (_, gzip) = &coded(&data(15))[1];
    scene.right(&asked("a.json"), &got(200, 15, gzip, &[("etag", "\"g\""), ("content-encoding", "gzip")]));
    scene.right(&head, &answer(15, gzip.len(), "\"g\"", Some("gzip")));
    scene.wrong(Kind::Length, &head, &answer(15, len, "\"g\"", Some("gzip")));
    scene.wrong(Kind::Tag, &head, &answer(16, gzip.len(), "\"g\"", Some("gzip")));
    scene.wrong(Kind::Tag, &head, &answer(15, gzip.len(), "\"g\"", Some("br")));
}

#[test]
fn conditions() {
    let scene = scene();
    let has = |cut| Asked { known: Some(known(cut)), ..asked("a.json") };
    let unchanged = |cut: u64, tag: u64| got(304, cut, b"", &[("etag", &format!("\"{tag}\""))]);
    let verdict = scene.right(&has(15), &unchanged(15, 15));
    assert!(verdict.is_had && verdict.known.is_none());
    scene.right(&has(14), &json(15));
    scene.right(&has(15), &json(16));
    scene.wrong(Kind::NotModified, &has(14), &unchanged(15, 14));
    scene.wrong(Kind::NotModified, &has(15), &unchanged(16, 15));
    scene.wrong(Kind::NotModified, &has(15), &unchanged(15, 14));
    scene.wrong(Kind::Tag, &has(15), &got(304, 15, b"", &[]));
    scene.wrong(Kind::Ignored, &has(15), &json(15));
    scene.wrong(Kind::Length, &has(15), &got(304, 15, b"x", &[("etag", "\"15\"")]));
}

#[test]
fn parts() {
    let scene = scene();
    let of = |cut| {
        let part = Part { whole: known(cut), field: "bytes=10-19".into(), first: 10, last: 19 };
        Asked { part: Some(part), ..asked("a.json") }
    };
    let total = data(15).len();
    let range = format!("bytes 10-19/{total}");
    let answer =
        |cut: u64, tag: &str, range: &str, body: &[u8]| got(206, cut, body, &[("etag", tag), ("content-range", range)]);
    let (right, other) = (data(15), data(16));
    assert!(!scene.right(&of(15), &answer(15, "\"15\"", &range, &right[10..20])).is_had);
    scene.right(&of(14), &json(15));
    scene.right(&of(15), &json(16));
    scene.wrong(Kind::Ignored, &of(15), &json(15));
    scene.wrong(Kind::Part, &of(14), &answer(15, "\"14\"", &range, &right[10..20]));
    scene.wrong(Kind::Part, &of(15), &answer(16, "\"16\"", &range, &other[10..20]));
    scene.wrong(Kind::Part, &of(15), &answer(15, "\"15\"", &range, &right[11..21]));
    scene.wrong(Kind::Part, &of(15), &answer(15, "\"15\"", &range, &right[10..19]));
    scene.wrong(Kind::Part, &of(15), &answer(15, "\"15\"", "bytes 10-19/*", &right[10..20]));
    scene.wrong(Kind::Part, &of(15), &answer(15, "\"15\"", "bytes 0-9/480", &right[0..10]));
    let mut coded = answer(15, "\"15\"", &range, &right[10..20]);
    coded.headers.insert("content-encoding", "gzip".parse().unwrap());
    scene.wrong(Kind::Part, &of(15), &coded);
    coded.headers.remove("content-encoding");
    coded.headers.insert("content-length", "11".parse().unwrap());
    scene.wrong(Kind::Length, &of(15), &coded);
}

#[test]
fn what_a_page_is_made_of() {
    let scene = scene();
    let now = Instant::now();
    let of = |cut, since| {
        let page = Page { name: "index.html".into(), cut, since };
        Asked { page: Some(page), ..asked("a.json") }
    };
    assert_eq!(scene.right(&of(14, now), &json(14)).current, 14);
    scene.wrong(Kind::TornPage, &of(14, now), &json(15));
    scene.wrong(Kind::TornPage, &of(15, now), &json(16));
    scene.wrong(Kind::TornPage, &of(14, now), &json(13));
    // Once it is not held any more, it may still come, or what is current.
    let late = |cut: u64| Got { at: now + PAGE_LIFE, ..json(cut) };
    for cut in [14, 15, 16] {
        scene.right(&of(14, now), &late(cut));
    }
    scene.wrong(Kind::OlderThanSeen, &of(14, now), &late(13));
    scene.right(&of(SUBMITTED - PAGE_CUTS - 1, now), &json(15));
    scene.wrong(Kind::TornPage, &of(SUBMITTED - PAGE_CUTS, now), &json(15));
}

#[test]
fn faults_say_what_was_due() {
    let scene = scene();
    let told = |name, got: &Got| judge(&scene.oracle, &scene.forms, &asked(name), got).unwrap_err().to_string();
    assert_eq!(
        told("a.json", &json(14)),
        "OlderThanSeen: expected cut 15 while cut 15 is served, or newer up to cut 16 (seen on this connection: 15, \
         confirmed: 15); got 200 of cut 14, which was current at most until cut 14"
    );
    assert_eq!(
        told("9.zip", &got(404, 15, b"", &[])),
        "Missing: expected cut 9 while cut 15 is served; got 404 of cut 15"
    );
}
