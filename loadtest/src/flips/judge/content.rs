//! Status, fields and body of an answer against the file that its cut has at the address.

use super::{Asked, Fault, Got, Kind, Known};
use crate::flips::{
    forms::{Coding, Form, Forms},
    oracle::{File, Oracle},
};

/// Checks an answer that is a file of `cut`, or says something about it. Gives the form if it came whole.
pub(super) fn check(
    oracle: &Oracle,
    forms: &Forms,
    asked: &Asked,
    got: &Got,
    cut: u64,
) -> Result<Option<Known>, Fault> {
    let Some(file) = oracle.file(cut, &asked.name) else {
        return Err(Fault::new(Kind::WrongCut, "a cut that has the file", format!("cut {cut}")));
    };
    match got.status {
        304 => unchanged(asked, got, file).map(|()| None),
        206 => part(asked, got, file).map(|()| None),
        _ if asked.is_head => head(forms, asked, got, file).map(|()| None),
        _ => whole(oracle, forms, asked, got, (cut, file)).map(Some),
    }
}

/// The length that the answer states. It must be that of its body, unless there must be none.
pub(super) fn length(asked: &Asked, got: &Got) -> Result<u64, Fault> {
    let stated = got.field("content-length").and_then(|length| length.parse().ok());
    let came = got.body.len() as u64;
    match stated {
        Some(stated) if asked.is_head && came == 0 || stated == came => Ok(stated),
        _ => {
            let length = got.field("content-length").unwrap_or("none");
            Err(Fault::new(Kind::Length, format!("a length for {came} bytes"), format!("length {length}")))
        }
    }
}

/// 200 with the whole of it.
fn whole(oracle: &Oracle, forms: &Forms, asked: &Asked, got: &Got, (cut, file): (u64, File)) -> Result<Known, Fault> {
    length(asked, got)?;
    let coding = coding(asked, got)?;
    let tag = tag(got)?;
    let form = forms.learn(tag, coding, &got.body, file.len)?;
    same(oracle, asked, form, (cut, file))?;
    if asked.known.as_ref().is_some_and(|known| known.tag == tag) {
        return Err(Fault::new(Kind::Ignored, format!("304, as the client has {tag}"), "200 with it"));
    }
    if asked.part.as_ref().is_some_and(|part| part.whole.tag == tag) {
        return Err(Fault::new(Kind::Ignored, format!("206, as the client has {tag}"), "200 with it"));
    }
    let (name, tag, body) = (asked.name.clone(), tag.to_owned(), got.body.clone());
    Ok(Known { name, tag, coding, plain: form.plain, body })
}

/// The file that the form decodes to must be that of the cut.
fn same(oracle: &Oracle, asked: &Asked, form: Form, (cut, file): (u64, File)) -> Result<(), Fault> {
    if form.plain == file.digest {
        return Ok(());
    }
    let expected = format!("the file of cut {cut}: {} bytes, BLAKE3 {}", file.len, file.digest);
    Err(match oracle.holder(&asked.name, form.plain) {
        Some(other) => Fault::new(Kind::OtherCut, expected, format!("the file of cut {other}, as {:?}", form.coding)),
        None => {
            let got = format!("BLAKE3 {}, from {} bytes of {:?}", form.plain, form.len, form.coding);
            Fault::new(Kind::Bytes, expected, got)
        }
    })
}

/// 200 without a body. The length of a coded form is known if the form was seen before.
fn head(forms: &Forms, asked: &Asked, got: &Got, file: File) -> Result<(), Fault> {
    let stated = length(asked, got)?;
    let (coding, tag) = (coding(asked, got)?, tag(got)?);
    let form = forms.get(tag);
    if let Some(form) = form.filter(|form| form.coding != coding || form.plain != file.digest) {
        let expected = format!("a tag of a file of BLAKE3 {}, as {coding:?}", file.digest);
        return Err(Fault::new(Kind::Tag, expected, format!("{tag}, which is {form:?}")));
    }
    let due = form.map(|form| form.len).or((coding == Coding::Identity).then_some(file.len));
    match due {
        Some(due) if due != stated => {
            Err(Fault::new(Kind::Length, format!("length {due} of {tag}"), format!("length {stated}")))
        }
        _ => Ok(()),
    }
}

/// 304: what the client has is what it would get.
fn unchanged(asked: &Asked, got: &Got, file: File) -> Result<(), Fault> {
    let Some(known) = &asked.known else {
        return Err(Fault::new(Kind::Status, "200, as there is no condition", "304"));
    };
    let tag = tag(got)?;
    if known.plain != file.digest || tag != known.tag {
        let expected = format!("the file of BLAKE3 {}, which the client does not have", file.digest);
        return Err(Fault::new(Kind::NotModified, expected, format!("304 with {tag} to {}", known.tag)));
    }
    if got.body.is_empty() { Ok(()) } else { Err(Fault::new(Kind::Length, "no body", "304 with one")) }
}

/// 206: the part that was asked for, of the form that the client has.
fn part(asked: &Asked, got: &Got, file: File) -> Result<(), Fault> {
    let Some(part) = &asked.part else {
        return Err(Fault::new(Kind::Status, "200, as no part is asked for", "206"));
    };
    let whole = &part.whole;
    let tag = tag(got)?;
    if whole.plain != file.digest || tag != whole.tag || coding(asked, got)? != whole.coding {
        let expected = format!("200, as the client's {} is not of this cut", whole.tag);
        return Err(Fault::new(Kind::Part, expected, format!("206 of {tag}")));
    }
    length(asked, got)?;
    let range = format!("bytes {}-{}/{}", part.first, part.last, whole.body.len());
    if got.field("content-range") != Some(range.as_str()) {
        return Err(Fault::new(Kind::Part, range, format!("{:?}", got.field("content-range"))));
    }
    if whole.body.get(part.first..=part.last) != Some(&*got.body) {
        return Err(Fault::new(Kind::Part, format!("the bytes of {range} of {tag}"), "other bytes"));
    }
    Ok(())
}

/// The coding of the body; one that the client accepts.
fn coding(asked: &Asked, got: &Got) -> Result<Coding, Fault> {
    let Some(named) = got.field("content-encoding") else { return Ok(Coding::Identity) };
    let accepts = asked.accept.split(',').any(|accepted| accepted.trim() == named);
    let wrong = || Fault::new(Kind::Coding, format!("one of `{}`", asked.accept), named);
    Coding::named(named).filter(|_| accepts).ok_or_else(wrong)
}

/// The tag, which must be a strong one.
fn tag(got: &Got) -> Result<&str, Fault> {
    let tag = got.field("etag");
    let is_strong = |tag: &&str| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    tag.filter(is_strong).ok_or_else(|| Fault::new(Kind::Tag, "a strong tag", format!("{tag:?}")))
}
