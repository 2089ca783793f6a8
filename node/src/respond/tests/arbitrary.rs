//! Whatever heads there may be: answers never panic, and a body is always the bytes that its head says.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::policy::Fallback;

/// The same cut in each of these ways.
static SETTINGS: LazyLock<[Setting; 3]> = LazyLock::new(|| {
    let fallback = vec![Fallback { prefix: "/app/".into(), page: "app/index.html".into() }];
    [
        Setting::under(Policy::default()),
        Setting::under(Policy { mount: "/m/".into(), fallback, hosts: vec!["a.example".into()], ..Policy::default() }),
        Setting::before_the_first_cut(Policy::default()),
    ]
});

/// The whole of every form, by its tag.
static FORMS: LazyLock<HashMap<String, Vec<u8>>> = LazyLock::new(|| {
    let names = WORLD.cut.manifest.entries.iter().map(|entry| address::encode(entry.path.as_str()));
    let proofs = ["cut.json", "manifest", "root"].map(|name| format!("/.well-known/difusor/{name}"));
    let mut forms = HashMap::new();
    for path in names.chain(proofs) {
        for form in USUAL.entity(&path).forms.iter() {
            let bytes: Vec<u8> = form.content.pieces(0..form.content.len()).flatten().collect();
            let digest = Digest::of(&decode(form.coding.name(), &bytes));
            assert!(form.tag.starts_with(&format!("\"{digest}")));
            forms.insert(form.tag.clone(), bytes);
        }
    }
    forms
});

/// Paths below no mount: mostly of files, and of the large ones more often.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let names = WORLD.cut.manifest.entries.iter().map(|entry| address::encode(entry.path.as_str()));
    let known: Vec<_> = names.chain(["/sub", "/app/x", "/.well-known/difusor/cut.json"].map(str::to_owned)).collect();
    let large = vec!["/", "/data/large.csv", "/stored.json", "/acta.pdf", "/plain.zip"];
    let text = prop_oneof![
        1 => "[ -~]{0,30}",
        1 => "/\\PC{0,20}",
        2 => "/(sub|data|a%20b|%2e%2e|\\.|)(/|%2f|\\\\|)(index.html|large.csv|%c3%b1.json|)(%00|\\?x|#y|)",
        10 => prop::sample::select(known),
        16 => prop::sample::select(large).prop_map(str::to_owned),
    ];
    prop_oneof![20 => text.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

/// What is often asked together, and some fields that hold anything.
fn fields() -> impl Strategy<Value = Vec<(Field, Vec<u8>)>> {
    use Field::{AcceptEncoding, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, Range};
    let coding = "(gzip|br|zstd|identity|\\*)(;q=(1|0\\.[0-9]{1,3}))?(, ?(gzip|br|zstd|identity|\\*)(;q=0(\\.5)?)?)?";
    let accept = prop_oneof![1 => coding, 1 => Just("gzip, deflate, br, zstd".to_owned())];

    let tags: Vec<_> = FORMS.keys().cloned().chain(["*".into(), "\"x\"".into()]).collect();
    let weak = prop_oneof![4 => Just(""), 1 => Just("W/")];
    let tag = (weak, prop::sample::select(tags)).prop_map(|(weak, tag)| format!("{weak}{tag}"));
    // So many that one of them is often of the file that is asked for.
    let tags = prop::collection::vec(tag.clone(), 1..30).prop_map(|tags| tags.join(", "));
    let date = prop::sample::select(vec![SAME, EARLIER, LATER, "x"]).prop_map(str::to_owned);
    let condition = prop_oneof![
        (prop::sample::select(vec![IfMatch, IfNoneMatch]), tags),
        (Just(IfRange), prop_oneof![tag, date.clone()]),
        (prop::sample::select(vec![IfModifiedSince, IfUnmodifiedSince]), date),
    ];

    let one = (0u64..4_000, 0u64..50).prop_map(|(first, len)| format!("{first}-{}", first + len));
    let range = prop_oneof![
        2 => one.clone(),
        2 => prop::collection::vec(one, 2..5).prop_map(|parts| parts.join(",")),
        2 => "[0-9]{1,3}-|-[0-9]{1,3}",
        1 => "[0-9]{0,4}-[0-9]{0,5}(, ?[0-9]{0,3}-[0-9]{0,4}){0,3}",
        1 => Just("400000-".to_owned()),
    ];
    let range = range.prop_map(|range| format!("bytes={range}"));

    let all = [
        AcceptEncoding,
        IfMatch,
        IfNoneMatch,
        IfModifiedSince,
        IfUnmodifiedSince,
        IfRange,
        Range,
        Field::Referer,
        Field::SecFetchDest,
        Field::Origin,
        Field::RequestMethod,
    ];
    let junk = (prop::sample::select(all.to_vec()), prop::collection::vec(any::<u8>(), 0..20));
    let bytes = |(field, value): (Field, String)| (field, value.into_bytes());
    (
        prop::option::weighted(0.7, (Just(AcceptEncoding), accept).prop_map(bytes)),
        prop::option::weighted(0.6, (Just(Range), range).prop_map(bytes)),
        prop::collection::vec(condition.prop_map(bytes), 0..3),
        prop::option::weighted(0.1, junk),
    )
        .prop_map(|(accept, range, conditions, junk)| {
            accept.into_iter().chain(range).chain(conditions).chain(junk).collect()
        })
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![24 => Just(Method::Get), 3 => Just(Method::Head), 1 => Just(Method::Options), 1 => Just(Method::Other)]
}

/// The names that a path may stand for, in this order.
fn names(path: &[u8]) -> Vec<String> {
    let Some(name) = address::decode(path).and_then(|name| String::from_utf8(name.into_owned()).ok()) else {
        return Vec::new();
    };
    let index = format!("{name}index.html");
    let is_folder = name.is_empty() || name.ends_with('/');
    let made_up = name.starts_with("app/").then(|| "app/index.html".to_owned());
    [name].into_iter().chain(is_folder.then_some(index)).chain(made_up).collect()
}

/// That the answer is true: of the file at the address, of the form that it names, of the part that it names.
fn check(setting: &Setting, head: &Head<'_>, answer: &Answer) {
    let known = [200, 206, 304, 308, 404, 405, 406, 412, 416, 421, 503];
    assert!(known.contains(&answer.status), "{}", answer.status);
    if matches!(answer.status, 200 | 206 | 304) && head.method != Method::Options {
        let tag = answer.field("etag").unwrap();
        let form = &FORMS[tag];
        let inner = head.path.strip_prefix(setting.policy.mount.trim_end_matches('/').as_bytes()).unwrap_or(head.path);
        let names = names(inner);
        let found = names.iter().find_map(|name| WORLD.cut.manifest.entry(name));
        let is_proof = names.first().is_some_and(|name| name.starts_with(".well-known/difusor/"));
        assert!(is_proof || tag.starts_with(&format!("\"{}", found.unwrap().digest)));
        assert_eq!(answer.coding() != "identity", answer.status != 304 && tag.contains('-'));
        match answer.status {
            200 if head.method == Method::Get => {
                assert!(answer.body == *form);
                assert!(is_proof || Digest::of(&answer.plain()) == found.unwrap().digest);
            }
            206 => {
                assert_eq!(head.method, Method::Get);
                let parts = answer.parts();
                assert!(!parts.is_empty());
                for part in parts {
                    assert!(part.total == form.len() && part.bytes == form[part.range]);
                }
            }
            _ => {}
        }
    }
    if answer.status == 416 {
        let total = answer.field("content-range").unwrap().strip_prefix("bytes */").unwrap();
        assert_eq!(total.parse(), Ok(FORMS[answer.field("etag").unwrap()].len()));
    }
    if matches!(answer.status, 206 | 416) {
        assert!(!head.range.is_empty() && head.method == Method::Get);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_body_is_always_the_bytes_that_its_head_says(
        which in prop_oneof![10 => Just(0usize), 10 => Just(1), 1 => Just(2)],
        method in method(),
        path in path(),
        is_below in prop::bool::weighted(0.95),
        authority in prop_oneof![12 => Just(b"a.example".to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..8)],
        fields in fields(),
    ) {
        let setting = &SETTINGS[which];
        let mount = if is_below { setting.policy.mount.trim_end_matches('/') } else { "" };
        let path = [mount.as_bytes(), &path].concat();
        let mut head = Head { method, path: &path, authority: Some(&authority), ..Head::default() };
        fields.iter().for_each(|(field, value)| head.push(*field, value));
        let answer = setting.answer(&head);
        check(setting, &head, &answer);

        // HEAD says what GET would, the range apart.
        let whole = Head { method: Method::Get, range: Lines::default(), ..head.clone() };
        let (get, head) = (setting.answer(&whole), setting.answer(&Head { method: Method::Head, ..head }));
        prop_assert_eq!((get.status, get.fields), (head.status, head.fields));
    }
}
