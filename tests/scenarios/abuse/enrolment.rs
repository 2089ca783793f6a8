//! Guests: enrolment is open to the whole Internet, and is worth nothing without a secret.

use difusor_proto::{
    limits::MAX_ENROL_FRAME,
    tls,
    token::Token,
    wire::{self, CloseCode, EnrolReply, EnrolRequest},
};
use rcgen::{CertificateParams, KeyPair};
use tokio::time::timeout;

use crate::{
    client::{Client, End},
    rig::{PATIENCE, Rig},
};

async fn guest(rig: &Rig, token: &Token) -> Client {
    let config = tls::enrolling(token.authority).unwrap();
    Client::dial_with(rig.mesh.mesh_address, config).await.expect("guests are heard")
}

fn request(token: &Token, name: Option<&str>) -> EnrolRequest {
    let csr = || {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    };
    let name = name.map(|name| name.parse().unwrap());
    EnrolRequest {
        secret: token.secret,
        name,
        mesh_request: csr(),
        site_request: csr(),
        site_names: vec!["localhost".into()],
    }
}

async fn ask(rig: &Rig, token: &Token, request: &EnrolRequest) -> EnrolReply {
    let guest = guest(rig, token).await;
    let (mut send, mut recv) = guest.connection.open_bi().await.unwrap();
    wire::write_frame(&mut send, request).await.unwrap();
    let reply = timeout(PATIENCE, wire::read_frame(&mut recv, MAX_ENROL_FRAME)).await.unwrap().unwrap().unwrap();
    CloseCode::Done.close(&guest.connection);
    reply
}

/// Sends bytes that are no request, and expects to be closed and counted.
async fn throw(rig: &Rig, token: &Token, bytes: &[u8], code: CloseCode) {
    let before = rig.refused("enrolment").await;
    let guest = guest(rig, token).await;
    let (mut send, _recv) = guest.connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    assert_eq!(guest.end().await, End::Code(code));
    rig.wait_refused("enrolment", before).await;
}

async fn refuse(rig: &Rig, token: &Token, request: &EnrolRequest) {
    let before = rig.refused("enrolment").await;
    let reply = ask(rig, token, request).await;
    assert!(matches!(reply, EnrolReply::Refused(_)), "it was let in with {:?}", request.site_names);
    rig.wait_refused("enrolment", before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_secret_nobody_enrols() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let token: Token = invitation.token.parse().unwrap();

    throw(&rig, &token, &[&[200, 0, 0, 0][..], &[0xee; 200]].concat(), CloseCode::Garbage).await;
    let long = u32::try_from(MAX_ENROL_FRAME + 1).unwrap().to_le_bytes();
    throw(&rig, &token, &long, CloseCode::Oversize).await;
    rig.publish().await;

    let wrong = Token { secret: [0; 16], ..token.clone() };
    refuse(&rig, &wrong, &request(&wrong, None)).await;
    // What cannot be signed uses nothing up.
    refuse(&rig, &token, &EnrolRequest { mesh_request: vec![0x30; 300], ..request(&token, None) }).await;
    refuse(&rig, &token, &EnrolRequest { site_names: vec!["a.example".into(); 33], ..request(&token, None) }).await;
    // Nobody takes the place of a node that exists.
    let taken = rig.mesh.nodes[0].zone.to_string();
    refuse(&rig, &token, &request(&token, Some(&taken))).await;
    rig.publish().await;

    let welcome = ask(&rig, &token, &request(&token, Some("first"))).await;
    assert!(matches!(welcome, EnrolReply::Welcome { .. }));
    refuse(&rig, &token, &request(&token, Some("second"))).await;
    refuse(&rig, &token, &request(&token, None)).await;
    let fleet = rig.mesh.client().status().await.unwrap();
    assert_eq!(fleet.nodes.len(), 2, "{:?}", fleet.nodes);
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

/// What the authority signs is what the authority says: a name that no resolver could ever ask for is a mistake or an
/// attempt on whoever prints it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_host_name_is_not_signed() {
    let rig = Rig::start(1).await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let token: Token = invitation.token.parse().unwrap();
    for name in ["not a host name\n", "", "a..b", "\u{1b}[2J"] {
        refuse(&rig, &token, &EnrolRequest { site_names: vec![name.into()], ..request(&token, None) }).await;
    }
    rig.mesh.stop().await.unwrap();
}

/// Two machines with one token at the same moment: one of them gets in.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_used_twice_at_once_is_used_once() {
    let rig = Rig::start(1).await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let token: Token = invitation.token.parse().unwrap();
    let (one, two) = (request(&token, Some("one")), request(&token, Some("two")));
    let (one, two) = tokio::join!(ask(&rig, &token, &one), ask(&rig, &token, &two));
    let welcome = |reply: &EnrolReply| matches!(reply, EnrolReply::Welcome { .. });
    assert_ne!(welcome(&one), welcome(&two));
    rig.mesh.stop().await.unwrap();
}
