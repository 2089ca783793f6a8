//! One request: its head is read, it is answered or refused, and what became of the answer is counted.
//!
//! Answering is synchronous, so requests of a connection never wait for each other; sending is not.

use bytes::Bytes;
use quinn::SendStream;
use tokio::time::{sleep_until, timeout};

use super::{
    code::Code,
    limits::FIELD_SECTION,
    opening::{Fault, Opening},
    priority,
    qpack::Size,
    receiving::{Receiving, Unread},
    reply::{Encoder, Ending, Reply},
    session::{Session, UnderWay},
};
use crate::{
    body::{Body, Urgency},
    engine::{Aside, Refusal},
    fields::request::{self, Flaw},
    head::{Head, Method},
};

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beheaded {
    /// The client is told; without a body if it asked for none.
    Refused { refusal: Refusal, bodiless: bool },
    /// The client knows, or would not understand.
    Reset(Code),
    /// The connection is to be closed.
    Violation(Code),
    /// It is lost.
    Gone,
}

impl Beheaded {
    fn refused(refusal: Refusal) -> Self {
        Self::Refused { refusal, bodiless: false }
    }
}

impl From<Fault> for Beheaded {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::refused(Refusal::HeadTooLarge),
            Fault::Stream(code) => Self::Reset(code),
            Fault::Connection(code) => Self::Violation(code),
        }
    }
}

impl From<Unread> for Beheaded {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge => Self::refused(Refusal::HeadTooLarge),
            Unread::Reset => Self::Reset(Code::RequestCancelled),
            Unread::Lost => Self::Gone,
        }
    }
}

/// An answer that is ready to be sent.
struct Answer {
    head: Encoder,
    body: Body,
    /// How soon the client wants it, if it says so.
    urgency: Option<Urgency>,
    /// The client asked for the head alone.
    bodiless: bool,
    /// What a rule does to the connection.
    aside: Option<Aside>,
}

/// Reads, answers, sends.
pub(super) async fn serve(mut stream: Receiving, sending: SendStream, under_way: UnderWay) {
    let mut reply = Reply::new(sending);
    let session = under_way.session();
    // The head came with what opened the stream, nearly always: then no timer is made.
    let read = timeout(session.limits().head, section(&mut stream)).await;
    let made = match read {
        Ok(Ok((section, goes_on))) => answer(&section, || !goes_on && stream.is_ended(), session),
        Ok(Err(beheaded)) => Err(beheaded),
        Err(_) => {
            session.overdue();
            Err(Beheaded::refused(Refusal::Slow))
        }
    };
    let ending = match made {
        Ok(Answer { aside: Some(Aside::Closed), .. }) => {
            stream.room().close();
            Ending::CutOff
        }
        Ok(answer) => {
            if let Some(Aside::Held(held)) = answer.aside {
                tokio::select! {
                    () = sleep_until(held.until().into()) => {}
                    () = session.drained() => {}
                }
            }
            // What else the request has is not read.
            drop(stream);
            reply.send(answer.head, answer.body, answer.urgency, answer.bodiless, &under_way).await
        }
        Err(Beheaded::Refused { refusal, bodiless }) => {
            drop(stream);
            let mut head = Encoder::new();
            let body = session.desk().refuse(refusal, &mut head);
            reply.send(head, body, None, bodiless, &under_way).await
        }
        Err(Beheaded::Reset(code)) => {
            reply.reset(code);
            Ending::Cancelled
        }
        Err(Beheaded::Violation(code)) => {
            stream.room().violated(code);
            Ending::CutOff
        }
        Err(Beheaded::Gone) => Ending::CutOff,
    };
    under_way.end(ending);
}

/// The field section of the head, and whether something came behind it.
async fn section(stream: &mut Receiving) -> Result<(Bytes, bool), Beheaded> {
    let mut opening = Opening::default();
    while let Some(piece) = stream.piece().await? {
        if let Some(opened) = opening.feed(piece)? {
            return Ok((opened.section, opened.goes_on));
        }
    }
    Err(opening.ended().into())
}

/// Answers what is asked in `section`. `is_all` says whether the request ends there.
fn answer(section: &[u8], is_all: impl FnOnce() -> bool, session: &Session) -> Result<Answer, Beheaded> {
    let mut fields = session.section();
    match fields.decode(section, FIELD_SECTION) {
        Ok(Size::Within) => {}
        Ok(Size::Beyond) => return Err(Beheaded::refused(Refusal::HeadTooLarge)),
        Err(_) => return Err(Beheaded::Violation(Code::DecompressionFailed)),
    }
    let mut head = Head::default();
    let read = request::read(fields.lines(), &mut head);
    let bodiless = head.method == Method::Head;
    let refused = |refusal| Err(Beheaded::Refused { refusal, bodiless });
    match read {
        // RFC 9114 section 4.3.1: https has an authority. Section 4.1.2: what is announced has to come; both allow an
        // answer that says so.
        Ok(announced) if head.authority.is_none() || (announced.is_some_and(|len| len > 0) && is_all()) => {
            return refused(Refusal::Malformed);
        }
        Ok(_) => {}
        Err(Flaw::Malformed) => return refused(Refusal::Malformed),
        Err(Flaw::Refused(refusal)) => return refused(refusal),
    }
    let mut encoder = Encoder::new();
    let mut desk = session.desk();
    let body = desk.answer(&head, &mut encoder);
    let aside = desk.aside();
    let urgency = priority::asked(&head.priority);
    Ok(Answer { head: encoder, body, urgency, bodiless, aside })
}
