//! The ruleset and the settings with this node's own values, pure.
//!
//! What is shipped stands as it is, with the values of the default configuration; between its marks the values are written
//! anew.

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddr};

use anyhow::{Context as _, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    config::Config,
    kernel::{public_ports, ruleset::PublicPort},
};

const RULES: &str = include_str!("../../../deploy/nftables/difusor.nft");
const SETTINGS: &str = include_str!("../../../deploy/sysctl/90-difusor.conf");

/// Where the values are.
const BEGIN: &str = "# values: begin (this part is written by `harden`)\n";
const END: &str = "# values: end\n";

/// How many connections the shipped ruleset gives to one source.
const HELD: &str = "ct count over 8192";

/// What is printed, loaded and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    /// For `nft -f`.
    pub(super) rules: String,
    /// For `/etc/sysctl.d`.
    pub(super) settings: String,
}

impl Texts {
    /// For this configuration; `operators` are TCP ports that are always let in, `others` UDP ones.
    pub(super) fn of(config: &Config, operators: &BTreeSet<u16>, others: &BTreeSet<u16>) -> anyhow::Result<Self> {
        let ports = public_ports(&config.public, &config.redirect.bind, config.http3);
        let (mut tcp, mut udp) = (BTreeSet::new(), BTreeSet::new());
        for port in ports {
            match port {
                PublicPort::Tcp(port) => tcp.insert(port),
                PublicPort::Udp(port) => udp.insert(port),
            };
        }
        ensure!(!tcp.contains(&0), "public: a rule needs the number of the port, and 0 is any");
        let networks = config.admission.exempt.networks.iter().chain(&config.proxies.networks);
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => four.push(*network),
                IpNet::V6(network) => six.push(*network),
            }
        }
        // A set cannot be empty. What goes over the loopback is let in before.
        four.push("127.0.0.0/8".parse()?);
        six.push("::1/128".parse()?);
        // Other nodes, and resolvers: their own limits are behind this.
        let dns = || config.dns.bind.iter().map(SocketAddr::port).filter(|port| *port != 0);
        let operators: BTreeSet<u16> = operators.iter().copied().chain(dns()).collect();
        let peers = Some(config.peers.port()).filter(|port| *port != 0);
        let others: BTreeSet<u16> = others.iter().copied().chain(dns()).chain(peers).collect();
        let mut values = String::new();
        let _ = writeln!(values, "define public_tcp = {}", set(&tcp));
        let _ = writeln!(values, "define public_udp = {}", set(&udp));
        values.push_str(
            "# ssh, other nodes, DNS, and whatever else operators reach: not limited here, so nobody is locked out by a flood.\n",
        );
        let _ = writeln!(values, "define operator_tcp = {}", set(&operators));
        let _ = writeln!(values, "define operator_udp = {}", set(&others));
        values.push_str("# Never limited: proxies, and who is exempt in [admission].\n");
        let _ = writeln!(values, "define exempt4 = {}", set(Ipv4Net::aggregate(&four).iter()));
        let _ = writeln!(values, "define exempt6 = {}", set(Ipv6Net::aggregate(&six).iter()));
        let (head, rest) = RULES.split_once(BEGIN).context("the ruleset has no beginning of values")?;
        let (_, tail) = rest.split_once(END).context("the ruleset has no end of values")?;
        // What the node itself gives to one source at most.
        let held = format!("ct count over {}", (config.limits.connections / 2).max(1));
        let tail = tail.replace(HELD, &held);
        Ok(Self { rules: format!("{head}{BEGIN}{values}{END}{tail}"), settings: SETTINGS.into() })
    }
}

/// As a set of `nft`, which cannot be empty: port 0, which nobody has, where there is no HTTP/3.
fn set<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "{ 0 }".into() } else { format!("{{ {} }}", items.join(", ")) }
}

/// Ports that sshd is known to listen on: of the session in which this runs (`SSH_CONNECTION`), and of its configuration.
pub(super) fn ssh_ports(session: &str, sshd_config: &str) -> BTreeSet<u16> {
    let of_session = session.split(' ').nth(3).and_then(|port| port.parse().ok());
    let words = sshd_config.lines().map(|line| line.split_whitespace());
    let configured = words.filter_map(|mut words| {
        let is_port = words.next()?.eq_ignore_ascii_case("port");
        if is_port { words.next()?.parse().ok() } else { None }
    });
    configured.chain(of_session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(config: &str) -> anyhow::Result<String> {
        Ok(Texts::of(&toml::from_str(config).unwrap(), &BTreeSet::from([22]), &BTreeSet::new())?.rules)
    }

    #[test]
    fn what_is_shipped_is_of_the_default_configuration() {
        assert_eq!(texts("").unwrap(), RULES);
    }

    #[test]
    fn values_are_of_the_node() {
        let rules = texts(
            "public = [\"0.0.0.0:443\", \"[::]:443\"]\nredirect.bind = [\"0.0.0.0:80\"]\nlimits.connections = 100\n\
             proxies = [\"10.0.0.0/8\", \"10.1.0.0/16\"]\nadmission.exempt = [\"2001:db8::7\"]\n\
             dns.bind = [\"0.0.0.0:53\"]\n",
        )
        .unwrap();
        for line in [
            "define public_tcp = { 80, 443 }\n",
            "define public_udp = { 443 }\n",
            "define operator_tcp = { 22, 53 }\n",
            "define operator_udp = { 53, 8445 }\n",
            "define exempt4 = { 10.0.0.0/8, 127.0.0.0/8 }\n",
            "define exempt6 = { ::1/128, 2001:db8::7/128 }\n",
            "ct count over 50 }",
        ] {
            assert!(rules.contains(line), "{line}");
        }
        assert!(!rules.contains("8443") && !rules.contains("8192"));
        assert!(texts("http3 = false").unwrap().contains("define public_udp = { 0 }\n"));
        assert!(texts("public = [\"0.0.0.0:0\"]").is_err());
    }

    #[test]
    fn ports_of_ssh() {
        let config = "# Port 1\nPort 2222\nport 22\nPermitRootLogin no\nPort x\n";
        assert_eq!(ssh_ports("192.0.2.1 5000 192.0.2.2 2200", config), BTreeSet::from([22, 2200, 2222]));
        assert_eq!(ssh_ports("", ""), BTreeSet::new());
    }
}
