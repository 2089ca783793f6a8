//! Who is not a node: no certificate, another authority's, one that no registry knows, one for another purpose.

use difusor_coordinator::{
    authority::{Authority, Purpose},
    home::Home,
};
use difusor_proto::wire::{ALPN_MESH, CloseCode};

use crate::{
    client::{Client, End, end_of, issued},
    rig::Rig,
};

/// TLS alerts (RFC 8446 section 6): no such authority, or one of that name that did not sign this.
const UNTRUSTED: [u64; 2] = [48, 51];
/// No protocol in common.
const NO_APPLICATION_PROTOCOL: u64 = 120;

#[tokio::test(flavor = "multi_thread")]
async fn only_enrolled_nodes_get_in() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let (to, trusted, authority) = (rig.mesh.mesh_address, rig.mesh.authority().to_vec(), rig.authority());

    let other = Home::new(rig.dir.path().join("other-authority"));
    Authority::create(&other).unwrap();
    let foreign = issued(&Authority::open(&other).unwrap(), Purpose::Node, "mx-central.node.difusor.internal");
    // Right issuer, right use, a name that a real node has: and still nobody's.
    let unlisted = issued(&authority, Purpose::Node, "mx-central.node.difusor.internal");
    // The certificate of a public site lies on more machines, and is worth nothing here.
    let site = issued(&authority, Purpose::Site, "localhost");

    let nobody = end_of(Client::dial(to, &trusted, None, &[ALPN_MESH]).await).await;
    assert_eq!(nobody, End::Code(CloseCode::NoCertificate));
    rig.wait_refused("no-certificate", 0).await;
    rig.publish().await;

    let stranger = end_of(Client::dial(to, &trusted, Some(&unlisted), &[ALPN_MESH]).await).await;
    assert_eq!(stranger, End::Code(CloseCode::UnknownNode));
    rig.wait_refused("unknown-node", 0).await;
    rig.publish().await;

    let before = rig.refused("handshake").await;
    let end = end_of(Client::dial(to, &trusted, Some(&foreign), &[ALPN_MESH]).await).await;
    assert!(matches!(end, End::Alert(alert) if UNTRUSTED.contains(&alert)), "{end:?}");
    rig.wait_refused("handshake", before).await;
    rig.publish().await;

    let before = rig.refused("handshake").await;
    let end = end_of(Client::dial(to, &trusted, Some(&site), &[ALPN_MESH]).await).await;
    assert!(matches!(end, End::Alert(_)), "a server's certificate was taken from a client: {end:?}");
    rig.wait_refused("handshake", before).await;
    rig.publish().await;

    for alpn in [&[b"h3".as_slice()][..], &[b"difusor/1".as_slice()], &[]] {
        let before = rig.refused("handshake").await;
        let end = end_of(Client::dial(to, &trusted, Some(&unlisted), alpn).await).await;
        assert_eq!(end, End::Alert(NO_APPLICATION_PROTOCOL), "{alpn:?}");
        rig.wait_refused("handshake", before).await;
    }
    rig.publish().await;
    // A guest's protocol gives no member's rights, whatever certificate comes with it.
    let fleet = rig.mesh.client().status().await.unwrap();
    assert_eq!(fleet.nodes.len(), 1, "{:?}", fleet.nodes);
    rig.mesh.stop().await.unwrap();
}
