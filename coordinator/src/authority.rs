//! The mesh authority: a certificate authority of the mesh's own, made at `init`, that no one else trusts.
//!
//! The coordinator's certificate may only act as a server and a node's only as a client, so neither can play the other.
//! Names and uses in a request are ignored: what a certificate says is decided here.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use difusor_proto::{
    Digest,
    store::{Access, replace},
    tls::{COORDINATOR_NAME, Identity},
};
use jiff::{ToSpan as _, Zoned, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject as _};

use crate::home::Home;

/// How long the authority lasts. A mesh is made for one election.
const AUTHORITY_YEARS: i16 = 5;
/// How long a certificate lasts: from the first drill to the last report, with a year to spare.
const CERTIFICATE_YEARS: i16 = 2;

/// The authority, able to issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A node, towards the coordinator and its peers.
    Node,
    /// The public site of a node, until the operator brings a certificate that browsers trust.
    Site,
}

impl Authority {
    /// Makes a new authority in `home`.
    ///
    /// # Errors
    /// If one exists already, or the disk refuses.
    pub fn create(home: &Home) -> anyhow::Result<()> {
        ensure!(!home.authority_key().exists(), "{} exists already", home.authority_key().display());
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Difusor mesh authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        last(&mut params, AUTHORITY_YEARS)?;
        let certificate = params.self_signed(&key)?;
        replace(&home.authority_key(), key.serialize_pem().as_bytes(), Access::Secret)?;
        replace(&home.authority_cert(), certificate.pem().as_bytes(), Access::Normal)?;
        Ok(())
    }

    /// Reads the authority of `home`.
    ///
    /// # Errors
    /// If its files are missing or damaged.
    pub fn open(home: &Home) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            fs::read_to_string(path)
                .with_context(|| format!("reading {}: run `difusor-coordinator init` first", path.display()))
        };
        let pem = read(&home.authority_cert())?;
        let key = KeyPair::from_pem(&read(&home.authority_key())?)
            .with_context(|| format!("{} is no key", home.authority_key().display()))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| anyhow::anyhow!("{} is no certificate: {error}", home.authority_cert().display()))?;
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificate, key)?, certificate })
    }

    /// The authority's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What a token says of the authority.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// A fresh key and certificate for the coordinator's mesh listener. Made at every start and never written.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn coordinator_identity(&self) -> anyhow::Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([COORDINATOR_NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Difusor coordinator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        last(&mut params, CERTIFICATE_YEARS)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            authority: self.certificate.to_vec(),
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        })
    }

    /// Issues a certificate for the key in a PKCS#10 request (DER), with these names.
    ///
    /// # Errors
    /// If the request is damaged, does not sign itself, or a name is neither a host name nor an address.
    pub fn issue(&self, request: &[u8], purpose: Purpose, names: &[String]) -> anyhow::Result<Vec<u8>> {
        let request = CertificateSigningRequestDer::from(request);
        let mut request = CertificateSigningRequestParams::from_der(&request).context("the certificate request")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("node", String::as_str));
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host_name(name, purpose)?.try_into()?),
            });
        }
        params.extended_key_usages = vec![match purpose {
            Purpose::Node => ExtendedKeyUsagePurpose::ClientAuth,
            Purpose::Site => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        last(&mut params, CERTIFICATE_YEARS)?;
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.der().to_vec())
    }
}

/// A host name that may stand in a certificate for this purpose (RFC 1123 section 2.1: letters, digits, hyphens).
///
/// # Errors
/// If it is none, or a name inside the mesh is asked for a site: whoever had one could play the coordinator.
fn host_name(name: &str, purpose: Purpose) -> anyhow::Result<&str> {
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    ensure!(name.len() <= 253 && name.split('.').all(label), "`{}` is no host name", name.escape_debug());
    let inside = name.to_ascii_lowercase().split('.').any(|label| label == "internal");
    ensure!(purpose == Purpose::Node || !inside, "`{name}` is a name inside the mesh, not one of a public site");
    Ok(name)
}

/// From yesterday, for clocks that are behind, until so many years from today.
fn last(params: &mut CertificateParams, years: i16) -> anyhow::Result<()> {
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let at = |date: Date| -> anyhow::Result<_> {
        let (month, day) = (u8::try_from(date.month())?, u8::try_from(date.day())?);
        Ok(rcgen::date_time_ymd(date.year().into(), month, day))
    };
    params.not_before = at(today.checked_sub(1.day())?)?;
    params.not_after = at(today.checked_add(i32::from(years).years())?)?;
    Ok(())
}
