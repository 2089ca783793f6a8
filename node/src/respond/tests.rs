//! Answers as tables: status and headers by method, path and conditions; and whatever bytes a path may have.

use std::sync::LazyLock;

use difusor_proto::Digest;
use proptest::prelude::*;

use super::*;
use crate::site::fixture::{Cut, Fixture, gunzip, noise};

struct World {
    site: Site,
    cut: Cut,
    fixture: Fixture,
}

/// A site with a page in memory, a large file in its pack, a file without gzip form, and folders.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let fixture = Fixture::new();
    let (page, large) = (noise(1, 100), noise(2, 9_000));
    let cut = fixture.cut(
        7,
        &[
            ("index.html", &page),
            ("sub/index.html", b"sub"),
            ("data/large.csv", &large),
            ("plain.zip", &noise(3, 100)),
            ("empty.txt", b""),
            ("a b/ñ.json", b"{}"),
        ],
    );
    World { site: fixture.site(&cut), cut, fixture }
});

fn ask(method: &Method, path: &str, headers: &[(HeaderName, &str)]) -> Plan {
    let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
    respond(Some(&WORLD.site), method, path, &headers)
}

fn get(path: &str, headers: &[(HeaderName, &str)]) -> Plan {
    ask(&Method::GET, path, headers)
}

fn bytes(plan: &Plan) -> Vec<u8> {
    match &plan.body {
        None => Vec::new(),
        Some(Content::Memory(bytes)) => bytes.to_vec(),
        Some(Content::Packed(packed)) => packed.read(0..packed.len()).unwrap(),
    }
}

fn header(plan: &Plan, name: HeaderName) -> Option<&str> {
    plan.headers.get(name).map(|value| value.to_str().unwrap())
}

fn digest(name: &str) -> Digest {
    WORLD.cut.manifest.entry(name).unwrap().digest
}

#[test]
fn a_page_with_all_its_headers() {
    let plan = get("/", &[]);
    assert_eq!(plan.status, StatusCode::OK);
    assert_eq!(Digest::of(&bytes(&plan)), digest("index.html"));
    let tag = format!("\"{}\"", digest("index.html"));
    let expected = [
        (header::CACHE_CONTROL, "public, max-age=15, must-revalidate"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CUT, "20210606_2007/7"),
        (header::ETAG, &tag),
        (header::VARY, "Accept-Encoding"),
        (header::CONTENT_TYPE, "text/html"),
        (header::CONTENT_LENGTH, &bytes(&plan).len().to_string()),
        (header::LAST_MODIFIED, "Mon, 07 Jun 2021 01:40:00 GMT"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in &expected {
        assert_eq!(header(&plan, name.clone()), Some(*value), "{name}");
    }
    assert_eq!(plan.headers.len(), expected.len());
}

#[test]
fn statuses() {
    let gzip = WORLD.site.find("/").and_then(|route| match route {
        Route::File(entity) => entity.forms.gzip.clone(),
        Route::Folder(_) => None,
    });
    let gzip_tag = gzip.unwrap().tag.to_str().unwrap().to_owned();
    let tag = format!("\"{}\"", digest("index.html"));
    let (weak, listed) = (format!("W/{tag}"), format!("\"x\", {tag}"));
    let (tag, weak, listed, gzip_tag) = (tag.as_str(), weak.as_str(), listed.as_str(), gzip_tag.as_str());
    let (inm, accept) = (header::IF_NONE_MATCH, header::ACCEPT_ENCODING);
    for (path, headers, status) in [
        ("/", &[][..], 200),
        ("/index.html", &[], 200),
        ("/sub", &[], 308),
        ("/sub/", &[], 200),
        ("/data", &[], 404),
        ("/data/", &[], 404),
        ("/a%20b/%c3%b1.json", &[], 200),
        ("/nope", &[], 404),
        ("//", &[], 404),
        ("/%2e%2e/index.html", &[], 404),
        ("/sub/../index.html", &[], 404),
        ("/sub%2Findex.html", &[], 404),
        ("/sub%5cindex.html", &[], 404),
        ("/sub\\index.html", &[], 404),
        ("/index.html%00", &[], 404),
        ("/%c0%ae%c0%ae/index.html", &[], 404),
        ("/%ff", &[], 404),
        ("", &[], 404),
        ("*", &[], 404),
        ("/", &[(inm.clone(), tag)], 304),
        ("/", &[(inm.clone(), weak)], 304),
        ("/", &[(inm.clone(), listed)], 304),
        ("/", &[(inm.clone(), "*")], 304),
        ("/", &[(inm.clone(), "\"other\"")], 200),
        // What the client has is compared with what it would get.
        ("/", &[(inm.clone(), gzip_tag)], 200),
        ("/", &[(inm.clone(), tag), (accept.clone(), "gzip")], 200),
        ("/", &[(inm.clone(), gzip_tag), (accept.clone(), "gzip")], 304),
        ("/nope", &[(inm.clone(), "*")], 404),
        ("/sub", &[(inm, "*")], 308),
        ("/", &[(header::IF_MODIFIED_SINCE, "Mon, 07 Jun 2021 01:40:00 GMT")], 200),
        ("/", &[(header::RANGE, "bytes=0-3")], 200),
        ("/", &[(accept.clone(), "identity;q=0, gzip;q=0")], 406),
        ("/plain.zip", &[(accept.clone(), "gzip")], 200),
        ("/plain.zip", &[(accept.clone(), "gzip, identity;q=0")], 406),
        ("/nope", &[(accept, "identity;q=0")], 404),
    ] {
        let plan = get(path, headers);
        assert_eq!(plan.status, status, "{path} {headers:?}");
        let length = header(&plan, header::CONTENT_LENGTH).map(|length| length.parse::<usize>().unwrap());
        match status {
            304 => {
                let kept = [header::CACHE_CONTROL, header::VARY, header::ETAG, CUT];
                assert!(kept.into_iter().all(|name| plan.headers.contains_key(name)));
                let dropped = [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING];
                assert!(dropped.into_iter().all(|name| !plan.headers.contains_key(name)));
                assert!(plan.body.is_none());
            }
            308 => assert_eq!((header(&plan, header::LOCATION), length), (Some("/sub/"), Some(0))),
            404 | 406 => {
                let text = String::from_utf8(bytes(&plan)).unwrap();
                assert!(text.contains(&format!("<p>{status}:")) && text.contains("lang=\"en\""));
                assert_eq!(length, Some(text.len()));
                assert_eq!(header(&plan, CUT), Some("20210606_2007/7"));
            }
            _ => assert_eq!(length, Some(bytes(&plan).len())),
        }
    }
}

#[test]
fn gzip_is_the_stored_stream_and_decompresses_to_the_file() {
    let accept = [(header::ACCEPT_ENCODING, "gzip, deflate, br")];
    for name in ["index.html", "data/large.csv"] {
        let plain = get(&format!("/{name}"), &[]);
        let plan = get(&format!("/{name}"), &accept);
        assert_eq!(header(&plan, header::CONTENT_ENCODING), Some("gzip"));
        assert_eq!(header(&plan, header::VARY), Some("Accept-Encoding"));
        assert!(header(&plan, header::ETAG).unwrap().starts_with(&format!("\"{}-gzip-", digest(name))));
        let (gzip, plain) = (bytes(&plan), bytes(&plain));
        assert!(gzip.len() < plain.len());
        assert_eq!(gunzip(&gzip, plain.len()), plain);
        let stream = WORLD.fixture.store.blob(&digest(name), difusor_proto::store::Form::Deflate).unwrap().unwrap();
        assert_eq!(gzip[10..gzip.len() - 8], stream.read().unwrap());
    }
    // Nothing to gain, so nothing is offered, and nothing varies.
    for path in ["/plain.zip", "/empty.txt", "/sub/"] {
        let plan = get(path, &accept);
        assert_eq!(plan.status, StatusCode::OK);
        assert_eq!((header(&plan, header::CONTENT_ENCODING), header(&plan, header::VARY)), (None, None), "{path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    for path in ["/", "/data/large.csv", "/sub", "/nope", "/empty.txt", "/.well-known/difusor/cut.json"] {
        for accept in ["gzip", "identity", "identity;q=0, gzip;q=0"] {
            let headers = [(header::ACCEPT_ENCODING, accept)];
            let (get, head) = (get(path, &headers), ask(&Method::HEAD, path, &headers));
            assert_eq!((get.status, get.headers), (head.status, head.headers), "{path}");
            assert!(head.body.is_none());
        }
    }
}

#[test]
fn only_reading_is_allowed() {
    let methods = ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND", "get"];
    for method in methods.map(|name| Method::from_bytes(name.as_bytes()).unwrap()) {
        for site in [None, Some(&WORLD.site)] {
            let plan = respond(site, &method, "/", &HeaderMap::new());
            assert_eq!(plan.status, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(header(&plan, header::ALLOW), Some("GET, HEAD"));
        }
    }
}

#[test]
fn before_the_first_cut() {
    for path in ["/", "/nope", "/.well-known/difusor/root"] {
        let plan = respond(None, &Method::GET, path, &HeaderMap::new());
        assert_eq!(plan.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&plan, header::RETRY_AFTER), Some("5"));
        assert_eq!(header(&plan, header::CACHE_CONTROL), Some("no-store"));
        assert!(respond(None, &Method::HEAD, path, &HeaderMap::new()).body.is_none());
    }
}

#[test]
fn proofs_are_asked_for_each_time() {
    for name in ["cut.json", "manifest", "root"] {
        let path = format!("/.well-known/difusor/{name}");
        let plan = get(&path, &[]);
        assert_eq!(header(&plan, header::CACHE_CONTROL), Some("no-cache"));
        let tag = header(&plan, header::ETAG).unwrap();
        assert_eq!(tag, format!("\"{}\"", Digest::of(&bytes(&plan))));
        assert_eq!(get(&path, &[(header::IF_NONE_MATCH, tag)]).status, StatusCode::NOT_MODIFIED);
    }
}

#[test]
fn redirects_stay_on_the_site() {
    for path in ["//sub", "/%2fsub", "/\\sub", "//example.org/%2e%2e", "/sub%2f"] {
        assert_eq!(get(path, &[]).status, StatusCode::NOT_FOUND, "{path}");
    }
}

proptest! {
    #[test]
    fn what_is_answered_is_the_file_of_that_name(
        path in prop_oneof![
            "[ -~]{0,30}",
            "/\\PC{0,20}",
            "/(sub|data|a%20b|%2e%2e|\\.|)(/|%2f|\\\\|)(index.html|large.csv|%c3%b1.json|)(%00|\\?x|#y|)",
            prop::sample::select(WORLD.cut.manifest.entries.iter().map(|e| crate::address::encode(e.path.as_str())).collect::<Vec<_>>()),
        ],
        accept in prop::option::of("(gzip|identity|\\*|br)?(;q=[01](\\.[0-9]{0,3})?)?(, ?(gzip|identity|\\*)(;q=0)?)?"),
        inm in prop::option::of("(W/)?\"?[a-f0-9*, ]{0,8}\"?"),
        junk in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::ACCEPT_ENCODING, accept), (header::IF_NONE_MATCH, inm)] {
            if let Some(value) = value {
                headers.append(&name, HeaderValue::from_str(&value).unwrap());
            }
            if let Ok(value) = HeaderValue::from_bytes(&junk) {
                headers.append(&name, value);
            }
        }
        let plan = respond(Some(&WORLD.site), &Method::GET, &path, &headers);
        if plan.status == StatusCode::OK {
            let name = crate::address::decode(&path).unwrap().into_owned();
            let name = if name.is_empty() || name.ends_with('/') { name + "index.html" } else { name };
            let entry = WORLD.cut.manifest.entry(&name).unwrap();
            let mut body = bytes(&plan);
            if plan.headers.contains_key(header::CONTENT_ENCODING) {
                body = gunzip(&body, usize::try_from(entry.size).unwrap());
            }
            prop_assert_eq!(Digest::of(&body), entry.digest);
        } else {
            prop_assert!([304, 308, 404, 406].contains(&plan.status.as_u16()), "{}", plan.status);
        }
    }
}
