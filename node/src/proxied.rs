//! Who the visitor is when a proxy stands before the node.
//!
//! Two ways to be told: for a whole connection by the PROXY protocol ([`preamble`]), for a request by its `Forwarded`
//! or `X-Forwarded-For` ([`forwarded`]). Both are only words, so only proxies that the operator names are believed;
//! from anyone else the fields are not even read. A connection that should begin with a PROXY header and does not is
//! for the caller to close: whether one comes is configured, never guessed.
//!
//! All of it is pure, and nothing here fails: who lies or garbles is only known by the address that cannot be made up.

mod forwarded;
mod preamble;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

pub use self::{
    forwarded::visitor,
    preamble::{MAX_HEADER, Parsed, parse},
};

/// The proxies that are believed. In a configuration, a list of addresses and networks.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Trust {
    /// Their addresses. An IPv4 network also stands for its addresses as IPv6 sockets show them (`::ffff:0:0/96`).
    pub networks: Vec<IpNet>,
}

impl Trust {
    /// True if what comes from this address about others is believed.
    pub fn includes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetworkError(String);

impl TryFrom<Vec<String>> for Trust {
    type Error = NetworkError;

    fn try_from(texts: Vec<String>) -> Result<Self, NetworkError> {
        let network = |text: String| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| NetworkError(text))
        };
        Ok(Self { networks: texts.into_iter().map(network).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(texts: &[&str]) -> Result<Trust, NetworkError> {
        Trust::try_from(texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_stand_for_themselves() {
        let trusted = trust(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).unwrap();
        for (address, is_in) in [
            ("10.9.8.7", true),
            ("::ffff:10.9.8.7", true),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(trusted.includes(address.parse().unwrap()), is_in, "{address}");
        }
        let error = trust(&["10.0.0.0/8", "proxy.example"]).unwrap_err();
        assert!(error.to_string().contains("`proxy.example` is no address"), "{error}");
    }
}
