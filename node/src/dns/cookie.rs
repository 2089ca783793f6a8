//! DNS cookies (RFC 7873, in the form of RFC 9018): whoever shows one that was given to it is where it says that it is.

use std::net::IpAddr;

use aws_lc_rs::hmac;

/// Bytes of what a client sends.
pub const CLIENT: usize = 8;

/// Bytes of what is added to it.
pub const SERVER: usize = 16;

/// How old, and how far ahead of this clock, a cookie may be, seconds (RFC 9018 section 4.3).
const OLD: u32 = 3600;
const AHEAD: u32 = 300;

/// Makes them, and knows its own.
pub struct Cookies {
    key: hmac::Key,
}

impl Cookies {
    /// With a secret that nobody else has.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret) }
    }

    /// What a client at this address is given, at Unix seconds: its own part, and ours.
    pub fn make(&self, client: [u8; CLIENT], address: IpAddr, now: u32) -> [u8; CLIENT + SERVER] {
        let mut cookie = [0; CLIENT + SERVER];
        let time = now.to_be_bytes();
        let hash = self.hash(client, address, time);
        // A version, three bytes without a meaning, the time, and the hash.
        let parts = client.iter().chain(&[1, 0, 0, 0]).chain(&time).chain(&hash);
        cookie.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        cookie
    }

    /// True if this is a cookie that was given to that address.
    pub fn is_own(&self, cookie: &[u8], address: IpAddr, now: u32) -> bool {
        let Ok(cookie) = <[u8; CLIENT + SERVER]>::try_from(cookie) else { return false };
        let [a, b, c, d, e, f, g, h, version, _, _, _, t, u, v, w, hash @ ..] = cookie;
        let made = u32::from_be_bytes([t, u, v, w]);
        let age = now.wrapping_sub(made);
        let is_fresh = age <= OLD || age.wrapping_neg() <= AHEAD;
        let expected = self.hash([a, b, c, d, e, f, g, h], address, [t, u, v, w]);
        version == 1 && is_fresh && aws_lc_rs::constant_time::verify_slices_are_equal(&hash, &expected).is_ok()
    }

    fn hash(&self, client: [u8; CLIENT], address: IpAddr, time: [u8; 4]) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&client);
        context.update(&time);
        match address.to_canonical() {
            IpAddr::V4(four) => context.update(&four.octets()),
            IpAddr::V6(six) => context.update(&six.octets()),
        }
        let mut hash = [0; 8];
        hash.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_one_address_and_an_hour() {
        let cookies = Cookies::new([7; 32]);
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let cookie = cookies.make(*b"12345678", one, 10_000);
        assert!(cookie.starts_with(b"12345678\x01\0\0\0"));
        for (now, is_own) in [(9_699, false), (9_700, true), (10_000, true), (13_600, true), (13_601, false)] {
            assert_eq!(cookies.is_own(&cookie, one, now), is_own, "{now}");
        }
        assert!(!cookies.is_own(&cookie, other, 10_000) && !Cookies::new([8; 32]).is_own(&cookie, one, 10_000));
        for at in (0..8).chain(12..24) {
            let mut forged = cookie;
            forged[at] ^= 1;
            assert!(!cookies.is_own(&forged, one, 10_000), "{at}");
        }
        assert!(!cookies.is_own(&cookie[..23], one, 10_000) && !cookies.is_own(b"12345678", one, 10_000));
    }
}
