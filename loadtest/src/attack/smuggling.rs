//! Requests whose end two servers in a row could see in different places, and that a server therefore must refuse, or
//! answer and close: everything behind them could be someone's hidden request (RFC 9112 section 11.2).
//!
//! Each form hides a request for a file that is there. A form was taken wrongly if that file came.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::strike::{Given, Strike};
use crate::compare::files::Asset;

/// What answers within this time has answered; what is silent waits for more.
const PATIENCE: Duration = Duration::from_millis(700);

/// Forms: what they are called, and fields with the end of the head and what stands between it and the hidden request.
/// `{n}` is the length of that and the hidden request. Each is sent with GET and POST.
const FORMS: [(&str, &str); 30] = [
    ("CL.TE", "Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 0\r\nContent-Length: {n}\r\n\r\n"),
    ("lengths in a list", "Content-Length: 0, {n}\r\n\r\n"),
    ("signed length", "Content-Length: +0\r\n\r\n"),
    ("negative length", "Content-Length: -1\r\n\r\n"),
    ("hexadecimal length", "Content-Length: 0x0\r\n\r\n"),
    ("length with a space", "Content-Length: 0 0\r\n\r\n"),
    ("empty length", "Content-Length:\r\n\r\n"),
    ("huge length", "Content-Length: 18446744073709551616\r\n\r\n"),
    ("space before the colon", "Content-Length : {n}\r\n\r\n"),
    ("tab before the colon", "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("folded length", "Content-Length:\r\n {n}\r\n\r\n"),
    ("folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("field with a space first", " Content-Length: {n}\r\n\r\n"),
    ("unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked and then identity", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("vertical tab", "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    ("coding in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("nul in a name", "Transfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n"),
    ("nul in a value", "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    ("bare LF in a field", "X: y\nContent-Length: {n}\r\n\r\n"),
    ("bare CR in a field", "X: y\rContent-Length: {n}\r\n\r\n"),
    ("bare LF as an end", "Content-Length: 0\n\n"),
    ("chunk with a bare LF", "Transfer-Encoding: chunked\r\n\r\n0\n\n"),
    ("chunk extension with a bare LF", "Transfer-Encoding: chunked\r\n\r\n0;a=b\nc\r\n\r\n"),
    ("chunk size with a sign", "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n"),
    ("chunk size with 0x", "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"),
    ("two hosts", "Host: other\r\nContent-Length: 0\r\n\r\n"),
];

/// All forms, one after the other.
pub(super) async fn forms(strike: Rc<Strike>) {
    for method in ["GET", "POST"] {
        for (n, (name, form)) in FORMS.iter().enumerate() {
            match one(&strike, n, method, form).await {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let found = format!("{method} {name}: {status} and the hidden request was answered");
                    strike.work.borrow_mut().wrong.push(found);
                }
                Err(error) => strike.work.borrow_mut().wrong.push(format!("{method} {name}: {error:#}")),
            }
        }
    }
}

/// The first status, if the hidden request was answered too.
async fn one(strike: &Strike, n: usize, method: &str, form: &str) -> Given<Option<u16>> {
    let hidden = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", Asset::Page.path(), strike.authority);
    let between = form.split_once("\r\n\r\n").map_or(0, |(_, rest)| rest.len());
    let form = form.replace("{n}", &(between + hidden.len()).to_string());
    let ask = format!("{method} /no-such-file HTTP/1.1\r\nHost: {}\r\n{form}{hidden}", strike.authority);
    let mut tls = strike.tls(strike.source(n), b"http/1.1", None).await?;
    strike.asked(1);
    strike.send(&mut tls, ask.as_bytes()).await?;
    let (mut all, mut room) = (Vec::new(), vec![0; 16 << 10]);
    // Whatever comes until it is silent or closes.
    while let Ok(Ok(read @ 1..)) = timeout(PATIENCE, tls.read(&mut room)).await {
        all.extend_from_slice(room.get(..read).unwrap_or_default());
    }
    strike.moved(0, all.len());
    let text = String::from_utf8_lossy(&all);
    let mut answers = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse::<u16>().ok());
    let (first, second) = (answers.next(), answers.next());
    if first.is_some_and(|status| status >= 400) {
        strike.refused(|| format!("status {}", first.unwrap_or_default()));
    }
    Ok(second.filter(|status| *status == 200).and(first))
}
