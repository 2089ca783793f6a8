//! The forms of a file: which are there, what each says of itself, and that all are the file.

use std::collections::HashSet;

use difusor_proto::{Sha256, store::Form as AtRest};

use super::*;
use crate::{digest_field::repr_digest, site::fixture::gunzip};

#[test]
fn which_forms_there_are() {
    use Coding::{Brotli, Gzip, Identity, Zstd};
    for (path, expected) in [
        ("/", &[Identity, Gzip, Brotli, Zstd][..]),
        // Large files have what the package brought, until there is time.
        ("/data/large.csv", &[Identity, Gzip]),
        // Where only plain bytes came, gzip is made too.
        ("/stored.json", &[Identity, Gzip, Brotli, Zstd]),
        // What the package deflated is sent so, be it worth coding or not.
        ("/acta.pdf", &[Identity, Gzip]),
        ("/plain.zip", &[Identity]),
        ("/empty.txt", &[Identity]),
        ("/sub/", &[Identity]),
        ("/.well-known/difusor/cut.json", &[Identity]),
    ] {
        let forms = &USUAL.entity(path).forms;
        let is_there: Vec<_> = Coding::ALL.into_iter().filter(|coding| forms.get(*coding).is_some()).collect();
        assert_eq!(is_there, expected, "{path}");
        let lens: Vec<_> = forms.iter().map(|form| form.content.len()).collect();
        assert!(lens.is_sorted(), "{path}: {lens:?}");
    }
}

#[test]
fn every_form_is_the_file_and_says_which_bytes_it_sends() {
    let mut tags = HashSet::new();
    for entry in &WORLD.cut.manifest.entries {
        let path = address::encode(entry.path.as_str());
        let plain = WORLD.bytes(entry.path.as_str());
        let mut coded = HashSet::new();
        for coding in Coding::ALL {
            let answer = USUAL.get(&path, &[(Field::AcceptEncoding, coding.name())]);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.plain(), plain, "{path}");
            let digest = repr_digest(Sha256::of(&answer.body).as_bytes());
            // Coded forms of large files have theirs once there was time to reckon it.
            let is_hashed = answer.coding() == "identity" || !path.starts_with("/data/");
            assert_eq!(answer.field("repr-digest"), is_hashed.then_some(digest.as_str()), "{path}");
            let tag = answer.field("etag").unwrap().to_owned();
            if answer.coding() == "identity" {
                assert_eq!(tag, format!("\"{}\"", entry.digest));
                assert_eq!(answer.field("content-encoding"), None);
            } else {
                let made_of = Digest::of(&answer.body).to_string();
                assert_eq!(tag, format!("\"{}-{}-{}\"", entry.digest, answer.coding(), &made_of[..16]));
                assert!(answer.body.len() < plain.len());
            }
            if coded.insert(answer.coding().to_owned()) {
                assert!(tags.insert(tag), "{path}");
            }
        }
    }
}

#[test]
fn gzip_is_the_stored_stream() {
    let accept = [(Field::AcceptEncoding, "gzip")];
    for name in ["index.html", "data/large.csv", "acta.pdf"] {
        let plain = WORLD.bytes(name);
        let answer = USUAL.get(&format!("/{name}"), &accept);
        assert_eq!(answer.field("content-encoding"), Some("gzip"));
        assert_eq!(gunzip(&answer.body, plain.len()), plain);
        let stream = WORLD.fixture.store.blob(&WORLD.digest(name), AtRest::Deflate).unwrap().unwrap();
        assert_eq!(answer.body[10..answer.body.len() - 8], stream.read().unwrap());
    }
}

#[test]
fn what_varies_says_so_in_every_answer() {
    for (path, varies) in [
        ("/", true),
        ("/data/large.csv", true),
        ("/stored.json", true),
        // Not for its type, but since there are two forms of it.
        ("/acta.pdf", true),
        // Its type may have several forms, and the next cut may have one.
        ("/empty.txt", true),
        ("/plain.zip", false),
        ("/foto_20210606.png", false),
        ("/.well-known/difusor/cut.json", false),
    ] {
        for accept in [&[][..], &[(Field::AcceptEncoding, "gzip, deflate, br, zstd")]] {
            for (field, status) in [
                ((Field::Range, "x"), 200),
                ((Field::IfNoneMatch, "*"), 304),
                ((Field::Range, "bytes=0-1"), 206),
                ((Field::Range, "bytes=0-0,2-2"), 206),
                ((Field::Range, "bytes=99999999-"), 416),
            ] {
                let answer = USUAL.get(path, &[accept, &[field]].concat());
                assert!(answer.status == status || path == "/empty.txt", "{path} {field:?}");
                assert_eq!(answer.field("vary"), varies.then_some("accept-encoding"), "{path} {field:?}");
            }
        }
        let refused = USUAL.get(path, &[(Field::AcceptEncoding, "*;q=0")]);
        assert_eq!((refused.status, refused.field("vary")), (406, Some("accept-encoding")));
    }
}

#[test]
fn without_made_codings_there_is_what_the_package_brought() {
    let options = crate::site::SiteOptions { coded: false, ..WORLD.fixture.options() };
    let setting = Setting::of(WORLD.fixture.build(&WORLD.cut, &options, None).unwrap(), Policy::default());
    for (path, codings) in [("/", &["identity", "gzip"][..]), ("/stored.json", &["identity"])] {
        for accept in ["br", "zstd", "identity", "gzip", "gzip, deflate, br, zstd"] {
            let answer = setting.get(path, &[(Field::AcceptEncoding, accept)]);
            assert!(codings.contains(&answer.coding()), "{path} {accept}");
            assert_eq!(answer.plain(), USUAL.get(path, &[]).body);
        }
    }
}
