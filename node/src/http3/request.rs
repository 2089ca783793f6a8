//! One request: its head is read, it is answered or refused, and what became of the answer is counted.
//!
//! Answering is synchronous, so requests of a connection never wait for each other; sending is not.

use bytes::Bytes;
use h3::{
    error::{Code, StreamError},
    server::RequestResolver,
};
use quinn::SendStream;
use tokio::time::timeout;

use super::{
    head, priority,
    quic::{self, code},
    reply::{Encoder, Ending, Reply},
    session::{Session, UnderWay},
};
use crate::engine::Refusal;

/// A request whose head is not read yet.
pub(super) type Unread = RequestResolver<quic::Connection, Bytes>;

/// Reads, answers, sends.
pub(super) async fn serve(unread: Unread, stream: SendStream, under_way: UnderWay) {
    let session = under_way.session();
    let mut reply = Reply::new(stream);
    // The head came with what opened the stream, nearly always: then no timer is made.
    let ending = match timeout(session.limits().head, unread.resolve_request()).await {
        Ok(Ok((request, rest))) => {
            // What else the request has is not read.
            drop(rest);
            let read = head::read(&request);
            let mut encoder = Encoder::new();
            let body = match &read {
                Ok(head) => session.desk().answer(head, &mut encoder),
                Err(refusal) => session.desk().refuse(*refusal, &mut encoder),
            };
            let urgency = read.ok().and_then(|head| priority::asked(&head.priority));
            let bodiless = request.method() == http::Method::HEAD;
            drop(request);
            reply.send(encoder, body, urgency, bodiless).await
        }
        Ok(Err(error)) => match verdict(&error) {
            Verdict::Refuse(refusal) => refuse(reply, refusal, session).await,
            Verdict::Reset(reason) => {
                reply.reset(code(reason));
                Ending::Cancelled
            }
            Verdict::Gone => Ending::CutOff,
        },
        Err(_) => {
            session.overdue();
            refuse(reply, Refusal::Slow, session).await
        }
    };
    under_way.end(ending);
}

async fn refuse(reply: Reply, refusal: Refusal, session: &Session) -> Ending {
    let mut encoder = Encoder::new();
    let body = session.desk().refuse(refusal, &mut encoder);
    reply.send(encoder, body, None, false).await
}

/// What follows from a head that could not be read.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The client is told.
    Refuse(Refusal),
    /// The client knows, or would not understand.
    Reset(Code),
    /// The connection is closed, or about to be.
    Gone,
}

fn verdict(error: &StreamError) -> Verdict {
    match error {
        StreamError::HeaderTooBig { .. } => Verdict::Refuse(Refusal::HeadTooLarge),
        // Said by what counts the bytes of heads. A client that ends its request with it gets the same.
        StreamError::RemoteTerminate { code: Code::H3_EXCESSIVE_LOAD, .. } => Verdict::Refuse(Refusal::HeadTooLarge),
        StreamError::RemoteTerminate { .. } => Verdict::Reset(Code::H3_REQUEST_CANCELLED),
        // RFC 9114 section 4.1.2 allows an answer to what is malformed.
        StreamError::StreamError { code: Code::H3_MESSAGE_ERROR, .. } => Verdict::Refuse(Refusal::Malformed),
        StreamError::StreamError { code, .. } => Verdict::Reset(*code),
        _ => Verdict::Gone,
    }
}
