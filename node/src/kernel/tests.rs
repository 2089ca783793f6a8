//! What needs no capability: what is refused before the kernel is asked, and what the configuration may say. The rest is in
//! `tests/kernel/run`.

use super::*;

/// A list whose orders nobody carries out.
fn idle(queue: usize, spared: &[&str]) -> (Blocklist, std::sync::mpsc::Receiver<Order>) {
    let (orders, queue) = sync_channel(queue);
    let spared = spared.iter().map(|text| network(text).unwrap()).chain(loopback()).collect();
    let longest = Duration::from_secs(60);
    (Blocklist { orders: Some(orders), counters: Arc::default(), spared, longest, keeper: None }, queue)
}

#[test]
fn some_are_never_blocked() {
    let (list, queue) = idle(8, &["198.51.100.7", "2001:db8:1::/48", "203.0.113.0/24"]);
    let block = |text: &str| list.block(network(text).unwrap(), Duration::from_secs(5));
    for spared in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "198.51.100.7",
        // A network that it lies in.
        "198.51.100.0/24",
        "2001:db8:1:5::/64",
        "2001:db8:1::5",
        "203.0.113.99",
    ] {
        assert_eq!(block(spared), Err(NotEntered::Spared), "{spared}");
    }
    for wide in ["0.0.0.0/0", "::/0", "10.0.0.0/8", "2001:db8::/32", "192.0.2.0/25"] {
        assert_eq!(block(wide), Err(NotEntered::Width), "{wide}");
    }
    assert_eq!(list.view().spared, 13);
    assert!(queue.try_recv().is_err());
    for fine in ["198.51.100.8", "2001:db8:2::/48", "::ffff:192.0.2.1", "192.0.2.77/24"] {
        assert_eq!(block(fine), Ok(()), "{fine}");
    }
    let orders: Vec<_> = queue.try_iter().collect();
    assert!(matches!(&orders[2], Order::Block(net, _) if net.to_string() == "192.0.2.1/32"), "{orders:?}");
    assert!(matches!(&orders[3], Order::Block(net, _) if net.to_string() == "192.0.2.0/24"), "{orders:?}");
}

#[test]
fn nobody_waits_and_nobody_is_in_for_too_long() {
    let (list, queue) = idle(1, &[]);
    let net = network("192.0.2.1").unwrap();
    assert_eq!(list.block(net, Duration::MAX), Ok(()));
    assert_eq!(list.block(net, Duration::MAX), Err(NotEntered::Busy));
    assert_eq!(list.unblock(net), Err(NotEntered::Busy));
    assert_eq!(list.view().no_room, 2);
    assert!(matches!(queue.recv(), Ok(Order::Block(_, for_)) if for_ == Duration::from_secs(60)));
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    assert_eq!(KernelConfig::default().check(), Ok(()));
    for table in ["filter", "difusor_", "difusor_base", "difusor_a b", "difusor_123456789012345678901"] {
        let config = KernelConfig { table: table.into(), ..KernelConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains(table), "{table}");
    }
    for entries in [0, (1 << 20) + 1] {
        let config = KernelConfig { entries, ..KernelConfig::default() };
        assert_eq!(config.check(), Err(KernelConfigError::Entries));
    }
    let config = KernelConfig { longest: Span(Duration::ZERO), ..KernelConfig::default() };
    assert_eq!(config.check(), Err(KernelConfigError::Longest));
}

#[test]
fn ports_are_named_once() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let ports = public_ports(&[at("0.0.0.0:443"), at("[::]:443")], &[at("0.0.0.0:80")], true);
    assert_eq!(ports, [PublicPort::Tcp(443), PublicPort::Tcp(80), PublicPort::Udp(443)]);
    assert_eq!(public_ports(&[at("0.0.0.0:443")], &[], false), [PublicPort::Tcp(443)]);
}
