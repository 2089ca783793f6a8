//! Who may play the coordinator: nobody whose certificate is a node's, a site's, or another authority's.

use difusor_coordinator::{
    authority::{Authority, Purpose},
    home::Home,
    run::Ready,
};
use difusor_proto::tls::Identity;

use crate::{
    client::{End, enrol, issued},
    rig::{PATIENCE, Rig, Served, served, status},
    rogue::Rogue,
};

/// The node must refuse this identity in the handshake, and serve on.
async fn refuse(rig: &Rig, before: &Served, what: &str, identity: &Identity) {
    let rogue = Rogue::listen(rig, identity);
    let end = rogue.attempt().await.err().map(End::from);
    assert!(matches!(end, Some(End::Alert(_))), "{what} was taken for the coordinator's: {end:?}");
    let node = &rig.mesh.nodes[0];
    assert!(served(&rig.mesh, node).await == *before, "{what}");
    assert!(!status(node).await.unwrap().connected, "{what}");
    rogue.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_certificate_plays_the_coordinator() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let member = enrol(&rig, "mallory").await;
    let authority = rig.authority();
    let coordinators_name = difusor_proto::tls::COORDINATOR_NAME;
    // The right name with a node's purpose, and the right purpose with a site's name.
    let named = issued(&authority, Purpose::Node, coordinators_name);
    let site = issued(&authority, Purpose::Site, "localhost");
    let other = Home::new(rig.dir.path().join("other-authority"));
    Authority::create(&other).unwrap();
    let foreign = Authority::open(&other).unwrap().coordinator_identity().unwrap();
    rig.mesh.coordinator.stop().await.unwrap();
    let before = served(&rig.mesh, &rig.mesh.nodes[0]).await;
    refuse(&rig, &before, "a node's own certificate", &member).await;
    refuse(&rig, &before, "a node's certificate with the coordinator's name", &named).await;
    refuse(&rig, &before, "a site's certificate", &site).await;
    refuse(&rig, &before, "a certificate of another authority", &foreign).await;

    rig.mesh.coordinator.spawn().unwrap();
    rig.mesh.coordinator.ready::<Ready>().await.unwrap();
    rig.mesh.wait_connected().await.unwrap();
    let cut = rig.publish().await;
    rig.mesh.wait_served(&cut, PATIENCE).await.unwrap();
    rig.mesh.stop().await.unwrap();
}

/// A public site's certificate carries names that its node chose. None of them may be the coordinator's, or any node
/// could have itself made into one.
#[tokio::test(flavor = "multi_thread")]
async fn no_site_is_named_like_the_coordinator() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let home = difusor_node::home::Home::new(rig.dir.path().join("mallory"));
    let names = vec![difusor_proto::tls::COORDINATOR_NAME.to_owned()];
    let joined = difusor_node::enrol::join(&home, &invitation.token.parse().unwrap(), None, names).await;
    if joined.is_ok() {
        // Then at least no node may believe it.
        use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let certificate = CertificateDer::from_pem_file(home.site_certificate()).unwrap().to_vec();
        let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_file(home.site_key()).unwrap() else { panic!("key") };
        let authority = rig.mesh.authority().to_vec();
        let identity = Identity { authority, certificate, key: key.secret_pkcs8_der().to_vec() };
        rig.mesh.coordinator.stop().await.unwrap();
        let before = served(&rig.mesh, &rig.mesh.nodes[0]).await;
        refuse(&rig, &before, "a site's certificate in the coordinator's name", &identity).await;
    }
    rig.mesh.stop().await.unwrap();
}
