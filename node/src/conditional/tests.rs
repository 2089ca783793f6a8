//! Conditions as tables, by the field and in the order of precedence, and whatever bytes they may have.

use proptest::prelude::*;

use super::*;
use crate::head::Field;

const TAG: &[u8] = b"\"abc\"";
const MODIFIED: u64 = 1_623_030_000;
const SAME: &str = "Mon, 07 Jun 2021 01:40:00 GMT";
const EARLIER: &str = "Mon, 07 Jun 2021 01:39:59 GMT";
const LATER: &str = "Mon, 07 Jun 2021 01:40:01 GMT";

fn head<'a>(method: Method, fields: &[(Field, &'a str)]) -> Head<'a> {
    let mut head = Head { method, ..Head::default() };
    fields.iter().for_each(|(field, value)| head.push(*field, value.as_bytes()));
    head
}

fn get(fields: &[(Field, &str)]) -> Precondition {
    evaluate(&head(Method::Get, fields), TAG, MODIFIED, |_| false)
}

#[test]
fn one_field() {
    use Field::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
    use Precondition::{Failed, NotModified, Proceed};
    for (field, lines, expected) in [
        (IfNoneMatch, &["\"abc\""][..], NotModified),
        (IfNoneMatch, &["W/\"abc\""], NotModified),
        (IfNoneMatch, &["\"x\", \"abc\""], NotModified),
        (IfNoneMatch, &["\"x\",W/\"abc\",\"y\""], NotModified),
        (IfNoneMatch, &["\"x\"", "\"abc\""], NotModified),
        (IfNoneMatch, &["\"a,b\", \"abc\""], NotModified),
        (IfNoneMatch, &["*"], NotModified),
        (IfNoneMatch, &[" * "], NotModified),
        (IfNoneMatch, &[""], Proceed),
        (IfNoneMatch, &["abc"], Proceed),
        (IfNoneMatch, &["\"abc"], Proceed),
        (IfNoneMatch, &["\"abcd\""], Proceed),
        (IfNoneMatch, &["\"ab\",\"c\""], Proceed),
        (IfNoneMatch, &["\"ABC\""], Proceed),
        (IfNoneMatch, &["\"*\""], Proceed),
        (IfNoneMatch, &["\"x\" abc \"y\""], Proceed),
        (IfMatch, &["\"abc\""], Proceed),
        (IfMatch, &["\"x\", \"abc\""], Proceed),
        (IfMatch, &["\"x\"", "\"abc\""], Proceed),
        (IfMatch, &["*"], Proceed),
        (IfMatch, &["W/\"abc\""], Failed),
        (IfMatch, &["\"x\""], Failed),
        (IfMatch, &["abc"], Failed),
        (IfMatch, &[""], Failed),
        (IfModifiedSince, &[SAME], NotModified),
        (IfModifiedSince, &["Monday, 07-Jun-21 01:40:00 GMT"], NotModified),
        (IfModifiedSince, &["Mon Jun  7 01:40:00 2021"], NotModified),
        (IfModifiedSince, &[EARLIER], Proceed),
        // After a rollback the client may hold something newer.
        (IfModifiedSince, &[LATER], Proceed),
        (IfModifiedSince, &["yesterday"], Proceed),
        (IfModifiedSince, &[""], Proceed),
        (IfModifiedSince, &[SAME, SAME], Proceed),
        (IfUnmodifiedSince, &[SAME], Proceed),
        (IfUnmodifiedSince, &[LATER], Proceed),
        (IfUnmodifiedSince, &[EARLIER], Failed),
        (IfUnmodifiedSince, &["Wed, 31 Dec 1969 23:59:59 GMT"], Failed),
        (IfUnmodifiedSince, &["yesterday"], Proceed),
        (IfUnmodifiedSince, &[EARLIER, EARLIER], Proceed),
        (Field::IfRange, &["\"x\""], Proceed),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| (field, *line)).collect();
        assert_eq!(get(&fields), expected, "{fields:?}");
        assert_eq!(evaluate(&head(Method::Head, &fields), TAG, MODIFIED, |_| false), expected, "HEAD {fields:?}");
        for method in [Method::Options, Method::Other] {
            assert_eq!(evaluate(&head(method, &fields), TAG, MODIFIED, |_| false), Proceed, "{method:?} {fields:?}");
        }
    }
    assert_eq!(get(&[]), Proceed);
}

#[test]
fn precedence() {
    use Field::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
    use Precondition::{Failed, NotModified, Proceed};
    for (fields, expected) in [
        // If-Match hides If-Unmodified-Since, and If-None-Match hides If-Modified-Since, whatever they say.
        (&[(IfMatch, "\"abc\""), (IfUnmodifiedSince, EARLIER)][..], Proceed),
        (&[(IfMatch, "\"x\""), (IfUnmodifiedSince, LATER)], Failed),
        (&[(IfNoneMatch, "\"x\""), (IfModifiedSince, SAME)], Proceed),
        (&[(IfNoneMatch, ""), (IfModifiedSince, SAME)], Proceed),
        (&[(IfNoneMatch, "\"abc\""), (IfModifiedSince, EARLIER)], NotModified),
        // What the client insists on comes before what it has.
        (&[(IfMatch, "\"x\""), (IfNoneMatch, "\"abc\"")], Failed),
        (&[(IfMatch, "\"abc\""), (IfNoneMatch, "\"abc\"")], NotModified),
        (&[(IfMatch, "\"abc\""), (IfNoneMatch, "\"x\"")], Proceed),
        (&[(IfMatch, "\"abc\""), (IfModifiedSince, SAME)], NotModified),
        (&[(IfUnmodifiedSince, EARLIER), (IfNoneMatch, "\"abc\"")], Failed),
        (&[(IfUnmodifiedSince, SAME), (IfModifiedSince, SAME)], NotModified),
        (&[(IfUnmodifiedSince, "x"), (IfModifiedSince, SAME)], NotModified),
    ] {
        assert_eq!(get(fields), expected, "{fields:?}");
    }
}

#[test]
fn other_forms_are_as_good_for_what_the_client_has() {
    let mut asked = Vec::new();
    let fields = [(Field::IfNoneMatch, "W/\"x\", \"y\", \"z\"")];
    let got = evaluate(&head(Method::Get, &fields), TAG, MODIFIED, |tag| {
        asked.push(tag.to_vec());
        tag == b"\"y\""
    });
    assert_eq!((got, asked), (Precondition::NotModified, vec![b"\"x\"".to_vec(), b"\"y\"".to_vec()]));
    let own = [(Field::IfNoneMatch, "\"y\", \"abc\"")];
    let got = evaluate(&head(Method::Get, &own), TAG, MODIFIED, |_| unreachable!("the form itself is listed"));
    assert_eq!(got, Precondition::NotModified);
    let guard = [(Field::IfMatch, "\"y\"")];
    let got = evaluate(&head(Method::Get, &guard), TAG, MODIFIED, |_| true);
    assert_eq!(got, Precondition::Failed);
}

proptest! {
    #[test]
    fn any_bytes(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 4),
        modified in any::<u64>(),
    ) {
        let mut head = Head::default();
        let fields = [Field::IfMatch, Field::IfNoneMatch, Field::IfModifiedSince, Field::IfUnmodifiedSince];
        for (field, value) in fields.into_iter().zip(&values) {
            head.push(field, value);
        }
        evaluate(&head, TAG, modified, |_| false);
    }

    /// Whatever a list holds, a tag that stands in a well-formed one is found.
    #[test]
    fn listed_tags_are_found(tags in proptest::collection::vec("(W/)?\"[!#-~]{0,8}\"", 0..6), at in any::<prop::sample::Index>()) {
        let mut listed = tags.clone();
        listed.insert(at.index(tags.len() + 1), "\"abc\"".to_owned());
        let with = listed.join(", ");
        prop_assert_eq!(get(&[(Field::IfNoneMatch, &with)]), Precondition::NotModified);
        prop_assert_eq!(get(&[(Field::IfMatch, &with)]), Precondition::Proceed);
    }
}
