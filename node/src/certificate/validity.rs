//! From when until when a certificate is valid, and whether anyone should be told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// Before its end by less than this, a certificate should have been renewed: automatic renewals come a month before.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// The `validity` of a certificate (RFC 5280 section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub since: SystemTime,
    /// `notAfter`.
    pub until: SystemTime,
}

impl Validity {
    /// That of a certificate in DER; `None` if it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self { since: instant(validity.not_before)?, until: instant(validity.not_after)? })
    }

    /// What the operator should know about it now; `None` if all is well.
    pub fn trouble(&self, now: SystemTime) -> Option<&'static str> {
        if now >= self.until {
            Some("has expired: browsers refuse it")
        } else if now < self.since {
            Some("is not valid yet, or this machine's clock is behind")
        } else if self.until < now + NOTICE {
            Some("expires soon")
        } else {
            None
        }
    }
}

fn instant(time: ASN1Time) -> Option<SystemTime> {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    if time.timestamp() < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn is_read_from_the_certificate() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".into()]).unwrap();
        // Before and after 2050 a certificate writes the year differently.
        (params.not_before, params.not_after) = (date_time_ymd(1969, 12, 31), date_time_ymd(2060, 1, 1));
        let validity = Validity::of(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(validity.since, UNIX_EPOCH - Duration::from_secs(86_400));
        assert_eq!(validity.until, UNIX_EPOCH + Duration::from_secs(2_840_140_800));
        assert_eq!(Validity::of(b"0 no certificate"), None);
    }

    #[test]
    fn trouble_is_told_in_time() {
        let day = |n: u64| UNIX_EPOCH + Duration::from_secs(n * 86_400);
        let validity = Validity { since: day(100), until: day(190) };
        for (now, part) in
            [(99, Some("not valid yet")), (100, None), (176, None), (177, Some("soon")), (190, Some("has expired"))]
        {
            let trouble = validity.trouble(day(now));
            assert_eq!(trouble.is_some(), part.is_some(), "day {now}");
            assert!(trouble.unwrap_or_default().contains(part.unwrap_or_default()), "day {now}");
        }
    }
}
