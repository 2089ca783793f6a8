//! The counting client of HTTP/2 against frames that are right and wrong.

use super::super::request::sample;
use super::*;

fn client<'a>(exchange: &'a Exchange, tally: &'a Tally) -> Client<'a> {
    let mut client = Client::new(exchange, tally);
    client.tell(&Event::Settled).unwrap();
    client.out.clear();
    client
}

#[test]
fn the_connection_begins_as_it_must() {
    let (exchange, tally) = (sample(5), Tally::default());
    let out = Client::new(&exchange, &tally).out;
    let (preface, rest) = out.split_at(PREFACE.len());
    assert_eq!(preface, PREFACE);
    assert_eq!(rest[..9], [0, 0, 12, 4, 0, 0, 0, 0, 0]);
    assert_eq!(rest[9..21], [0, 2, 0, 0, 0, 0, 0, 4, 0, 0x60, 0, 0]);
    assert_eq!(rest[21..], [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0xef, 0, 1]);
}

#[test]
fn requests_are_named_by_number_from_the_second_on() {
    let exchange = Exchange { tag: Some("\"x\"".into()), ..sample(0) };
    let (first, again) = requests(&exchange);
    let expected = [b"\x82\x87\x44\x02/a\x41\x0blocalhost:1".as_slice(), b"\x50\x04gzip", b"\x69\x03\"x\""];
    assert_eq!(first, expected.concat());
    assert_eq!(again, [0x82, 0x87, 0xc1, 0xc0, 0xbf, 0xbe]);
    let expected = [b"\x82\x87\x04\x02/a\x01\x0blocalhost:1".as_slice(), b"\x0f\x01\x04gzip", b"\x0f\x1a\x03\"x\""];
    assert_eq!(plain(&exchange), expected.concat());
}

#[test]
fn answers_are_counted_and_checked() {
    let (exchange, tally) = (sample(5), Tally::default());
    let mut client = client(&exchange, &tally);
    tally.begin();
    client.ask();
    client.ask();
    client.tell(&Event::Headers { stream: 3, block: &[0x3f, 0xe1, 0x1f, 0x88], end: false }).unwrap();
    client.tell(&Event::Data { stream: 3, bytes: 5, end: true }).unwrap();
    assert_eq!(client.answered, 1);
    client.tell(&Event::Headers { stream: 1, block: &[0x20, 0x88], end: false }).unwrap();
    client.tell(&Event::Data { stream: 1, bytes: 3, end: false }).unwrap();
    assert!(client.tell(&Event::Data { stream: 1, bytes: 3, end: true }).is_err(), "a byte too many");
    assert!(client.tell(&Event::Data { stream: 3, bytes: 1, end: true }).is_err(), "after its end");
    assert!(client.tell(&Event::GoAway { code: 0 }).is_err());
    let counted = tally.counted();
    assert_eq!((counted.answers, counted.bytes), (1, 12));
}

#[test]
fn only_what_was_expected_passes() {
    assert_eq!(status(&[0x88]).unwrap(), 200);
    assert_eq!(status(&[0x20, 0x3f, 0xe1, 0x1f, 0x8b, 0x88]).unwrap(), 304);
    assert!(status(&[0x8d]).is_err() && status(&[]).is_err() && status(&[0x3f, 0xff]).is_err());
}

#[test]
fn credit_is_given_before_it_runs_out() {
    let (exchange, tally) = (sample(20_000_000), Tally::default());
    let mut client = client(&exchange, &tally);
    client.ask();
    client.out.clear();
    client.tell(&Event::Headers { stream: 1, block: &[0x88], end: false }).unwrap();
    let (mut on_stream, mut on_connection) = (0, 0);
    for _ in 0..1_200 {
        client.tell(&Event::Data { stream: 1, bytes: 16_384, end: false }).unwrap();
        let count = |frame: &&[u8]| u32::from_be_bytes(*frame.last_chunk().unwrap());
        for frame in client.out.chunks(13) {
            let target = u32::from_be_bytes(*frame[5..].first_chunk().unwrap());
            *if target == 1 { &mut on_stream } else { &mut on_connection } += count(&frame);
        }
        client.out.clear();
    }
    let sent = 1_200 * 16_384;
    assert!(sent - on_stream < STREAM_WINDOW && sent - on_connection < CONNECTION_WINDOW);
}

#[test]
fn a_table_that_is_smaller_is_left_alone() {
    let (exchange, tally) = (sample(5), Tally::default());
    let mut client = Client::new(&exchange, &tally);
    client.tell(&Event::Setting { id: 1, value: 0 }).unwrap();
    client.tell(&Event::Setting { id: 3, value: 7 }).unwrap();
    client.tell(&Event::Settled).unwrap();
    assert_eq!((client.first[0], &client.first[1..], client.limit), (0x20, client.again.as_slice(), 7));
    assert!(client.tell(&Event::Setting { id: 1, value: 0 }).is_err());
}
