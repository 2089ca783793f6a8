//! What `nsupdate` and `named` of BIND 9.18 said to each other; and everything that is not quite that.

use data_encoding::HEXLOWER;
use hickory_proto::{
    op::OpCode,
    rr::{RecordType, rdata::A},
};

use super::*;

const NOW: u64 = 0x6b09_5fb0;

const ASKED: &str = "f41428000001000000020001076578616d706c65036f7267000006000107726573756c7473c00c000100ff000000000000c01d00010001000000140004c00002010764696675736f720000fa00ff00000000003d0b686d61632d7368613235360000006b095fb0012c00201b58161fd63fb541d733cebd99e1e4203ec33868ce65e2379f7c064d6e0de32ff41400000000";
const DONE: &str = "f414a8000001000000000001076578616d706c65036f726700000600010764696675736f720000fa00ff00000000003d0b686d61632d7368613235360000006b095fb0012c00200e7e10f1d20ddf7f62404e530b14adbf179233efe3c1168a7a03953396b23360f41400000000";
const BAD_SIG: &str = "63baa8090001000000000001076578616d706c65036f726700000600010764696675736f720000fa00ff00000000001d0b686d61632d7368613235360000006b095fb0012c000063ba00100000";
const BAD_KEY: &str = "def3a8090001000000000001076578616d706c65036f7267000006000104656c73650000fa00ff00000000001d0b686d61632d7368613235360000006b095fb1012c0000def300110000";

fn key() -> Key {
    let text = "key difusor { algorithm hmac-sha256; secret \"MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ubw==\"; };";
    Key::parse(text).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// The update that `nsupdate` sent.
fn message(id: u16) -> Message {
    let name = |text| hickory_proto::rr::Name::from_ascii(text).unwrap();
    let mut message = Message::query();
    (message.metadata.id, message.metadata.op_code) = (id, OpCode::Update);
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name("example.org."), RecordType::SOA));
    let mut gone = Record::update0(name("results.example.org."), 0, RecordType::A).into_record_of_rdata();
    gone.dns_class = DNSClass::ANY;
    message.add_authority(gone);
    message.add_authority(Record::from_rdata(name("results.example.org."), 20, RData::A(A::new(192, 0, 2, 1))));
    message
}

fn sent(id: u16) -> Signed {
    sign(message(id), &key(), NOW).unwrap()
}

#[test]
fn the_bytes_are_those_of_nsupdate() {
    assert_eq!(HEXLOWER.encode(&sent(0xf414).bytes), ASKED);
}

#[test]
fn the_answer_of_bind_counts_and_no_other() {
    let (asked, done) = (sent(0xf414), bytes(DONE));
    assert_eq!(asked.check(&done, &key(), NOW + 1), Ok(()));
    for at in 0..done.len() {
        let mut other = done.clone();
        other[at] ^= 1;
        assert!(asked.check(&other, &key(), NOW).is_err(), "byte {at}");
        assert!(asked.check(&done[..at], &key(), NOW).is_err(), "{at} bytes");
    }
    // The same answer to another message of that number, or long after.
    let mut other = message(0xf414);
    other.authorities.pop();
    assert!(sign(other, &key(), NOW).unwrap().check(&done, &key(), NOW).is_err());
    assert_eq!(asked.check(&done, &key(), NOW + 301), Err(Doubt::Untrusted("it is an old one")));
    assert!(matches!(sent(1).check(&done, &key(), NOW), Err(Doubt::Untrusted(_))));
}

#[test]
fn what_a_server_cannot_sign_is_told_and_nothing_else() {
    let refused = |error| Err(Doubt::Refused(ResponseCode::NotAuth, Some(error), None));
    assert_eq!(sent(0x63ba).check(&bytes(BAD_SIG), &key(), NOW), refused(TsigError::BadSig));
    assert_eq!(sent(0xdef3).check(&bytes(BAD_KEY), &key(), NOW), refused(TsigError::BadKey));
    // An answer without a signature that says that it was done.
    let mut bare = Message::response(7, OpCode::Update);
    assert_eq!(sent(7).check(&bare.to_vec().unwrap(), &key(), NOW), Err(Doubt::Untrusted("it has no signature")));
    bare.metadata.response_code = ResponseCode::Refused;
    assert_eq!(
        sent(7).check(&bare.to_vec().unwrap(), &key(), NOW),
        Err(Doubt::Refused(ResponseCode::Refused, None, None))
    );
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_no_answer(answer in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let sent = sent(u16::from_be_bytes([*answer.first().unwrap_or(&0), *answer.get(1).unwrap_or(&0)]));
        proptest::prop_assert!(sent.check(&answer, &key(), NOW).is_err());
    }
}
