//! Where the archive is copied to: the section `[replica]`, validated before anything is bound.
//!
//! Secrets are not written here: they come from a file of their own, or from the environment.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use object_store::{
    Certificate, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
    local::LocalFileSystem,
};
use serde::Deserialize;

/// A request that is not answered for this long has failed. A part must get through in it.
const ANSWER: Duration = Duration::from_secs(120);

/// How often one request is tried, and for how long. What takes longer is left to the next pass.
const TRIES: usize = 3;
const TRYING: Duration = Duration::from_secs(60);

/// How sure a copy has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Every byte is read back and compared.
    #[default]
    ReadBack,
    /// The length that the other side names is enough.
    Size,
}

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaConfig {
    /// `s3://bucket/prefix` or `file:///folder`.
    pub url: String,
    /// Address of the S3 service, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether the endpoint may be spoken to without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// File with the access key; the variables `AWS_*` otherwise.
    pub credentials: Option<PathBuf>,
    /// Certificates that are trusted besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// How sure a copy has to be.
    #[serde(default)]
    pub verify: Verify,
}

/// What a URL names.
enum Place<'a> {
    S3 { bucket: &'a str, prefix: &'a str },
    Folder(&'a Path),
}

/// An object store that is ready to be spoken to.
pub(super) struct Open {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: object_store::path::Path,
    /// Whether objects can carry fields of ours.
    pub(super) fields: bool,
    /// The folder, if it is one.
    pub(super) folder: Option<PathBuf>,
}

impl ReplicaConfig {
    /// A replica at `url` with nothing else said.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: None,
            allow_http: false,
            credentials: None,
            ca: None,
            verify: Verify::default(),
        }
    }

    fn place(&self) -> anyhow::Result<Place<'_>> {
        if let Some(rest) = self.url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            ensure!(
                (3..=63).contains(&bucket.len()) && bucket.bytes().all(fits),
                "replica.url: `{bucket}` is no name of a bucket"
            );
            return Ok(Place::S3 { bucket, prefix });
        }
        if let Some(path) = self.url.strip_prefix("file://") {
            let path = Path::new(path);
            ensure!(path.is_absolute(), "replica.url: write a folder with three slashes, such as file:///mnt/archive");
            return Ok(Place::Folder(path));
        }
        bail!("replica.url: `{}` is neither s3://bucket/prefix nor file:///folder", self.url)
    }

    /// Says what is wrong with the section, without looking at files or the network.
    ///
    /// # Errors
    /// Names the key and what to write instead.
    pub fn validate(&self) -> anyhow::Result<()> {
        match self.place()? {
            Place::S3 { prefix, .. } => {
                object_store::path::Path::parse(prefix).context("replica.url: the prefix")?;
            }
            Place::Folder(_) => {
                let of_s3 = self.endpoint.is_some() || self.region.is_some() || self.credentials.is_some();
                ensure!(
                    !of_s3 && self.ca.is_none() && !self.allow_http,
                    "replica: endpoint, region, credentials, ca and allow_http are for s3:// only"
                );
            }
        }
        if let Some(endpoint) = &self.endpoint {
            let plain = endpoint.starts_with("http://");
            ensure!(
                plain || endpoint.starts_with("https://"),
                "replica.endpoint: `{endpoint}` does not start with https://"
            );
            ensure!(!plain || self.allow_http, "replica.endpoint: http:// needs allow_http = true");
        }
        Ok(())
    }

    /// Makes it ready, with its secrets. Makes no request.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub(super) fn open(&self) -> anyhow::Result<Open> {
        self.validate()?;
        match self.place()? {
            Place::Folder(folder) => {
                // Made here, it could be the empty place where a disk is to be mounted.
                ensure!(folder.is_dir(), "replica.url: {} is not there: make or mount it", folder.display());
                let files = LocalFileSystem::new_with_prefix(folder)
                    .with_context(|| format!("opening {}", folder.display()))?
                    // Without this a copy is complete before the disk has it.
                    .with_fsync(true);
                let (store, prefix) = (Arc::new(files) as _, object_store::path::Path::default());
                Ok(Open { store, prefix, fields: false, folder: Some(folder.into()) })
            }
            Place::S3 { bucket, prefix } => {
                let mut options = ClientOptions::new()
                    .with_allow_http(self.allow_http)
                    .with_timeout_disabled()
                    .with_read_timeout(ANSWER)
                    .with_user_agent(http::HeaderValue::from_static(concat!("difusor/", env!("CARGO_PKG_VERSION"))));
                if let Some(path) = &self.ca {
                    let pem = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                    let trusted =
                        Certificate::from_pem_bundle(&pem).with_context(|| format!("in {}", path.display()))?;
                    ensure!(!trusted.is_empty(), "{} has no certificate in it", path.display());
                    options = trusted.into_iter().fold(options, ClientOptions::with_root_certificate);
                }
                let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRYING, ..RetryConfig::default() };
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(options)
                    .with_retry(retry)
                    .with_checksum_algorithm(Checksum::SHA256);
                if let Some(endpoint) = &self.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if let Some(region) = &self.region {
                    builder = builder.with_region(region);
                }
                if let Some(path) = &self.credentials {
                    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
                    let keys = Keys::parse(&text).with_context(|| format!("in {}", path.display()))?;
                    builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
                    if let Some(token) = keys.token {
                        builder = builder.with_token(token);
                    }
                }
                let store = Arc::new(builder.build().context("replica")?);
                let prefix = object_store::path::Path::parse(prefix).context("replica.url: the prefix")?;
                Ok(Open { store, prefix, fields: true, folder: None })
            }
        }
    }
}

/// An access key.
#[derive(Debug, PartialEq, Eq)]
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    /// Reads lines `aws_access_key_id = …` and `aws_secret_access_key = …`, as in `~/.aws/credentials` or in a file of
    /// variables. Other lines are passed over; a second key would leave open which is meant.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut id, mut secret, mut token) = (None, None, None);
        for line in text.lines() {
            let Some((key, value)) = line.trim().trim_start_matches("export ").split_once('=') else { continue };
            let slot = match key.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => &mut id,
                "aws_secret_access_key" => &mut secret,
                "aws_session_token" => &mut token,
                _ => continue,
            };
            ensure!(slot.is_none(), "{} is there twice: keep one profile in this file", key.trim());
            *slot = Some(value.trim().trim_matches('"').to_owned());
        }
        let id = id.context("there is no line `aws_access_key_id = …`")?;
        let secret = secret.context("there is no line `aws_secret_access_key = …`")?;
        Ok(Self { id, secret, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let s3 = || ReplicaConfig::at("s3://bucket/prefix");
        for (config, part) in [
            (ReplicaConfig::at("http://bucket"), "neither"),
            (ReplicaConfig::at("s3://"), "bucket"),
            (ReplicaConfig::at("s3://Bucket/x"), "bucket"),
            (ReplicaConfig::at("s3://bucket/a//b"), "prefix"),
            (ReplicaConfig::at("file://folder"), "three slashes"),
            (ReplicaConfig { region: Some("x".into()), ..ReplicaConfig::at("file:///x") }, "s3:// only"),
            (ReplicaConfig { endpoint: Some("http://127.0.0.1:1".into()), ..s3() }, "allow_http"),
            (ReplicaConfig { endpoint: Some("127.0.0.1:1".into()), ..s3() }, "https://"),
        ] {
            let error = format!("{:#}", config.validate().unwrap_err());
            assert!(error.contains(part), "{}: {error}", config.url);
        }
        s3().validate().unwrap();
        ReplicaConfig::at("file:///mnt/archive").validate().unwrap();
    }

    #[test]
    fn secrets_come_from_files_of_both_kinds() {
        let expected = Keys { id: "A".into(), secret: "b/=".into(), token: None };
        let ini = "[default]\naws_access_key_id = A\naws_secret_access_key=b/=\nregion = x\n";
        let variables = "# key\nexport AWS_ACCESS_KEY_ID=A\nAWS_SECRET_ACCESS_KEY=\"b/=\"\n";
        assert_eq!(Keys::parse(ini).unwrap(), expected);
        assert_eq!(Keys::parse(variables).unwrap(), expected);
        assert!(Keys::parse("aws_access_key_id = A").is_err());
        assert!(Keys::parse(&format!("{ini}{ini}")).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::TempDir::new().unwrap();
        let missing = dir.path().join("missing");
        for config in [
            ReplicaConfig::at(&format!("file://{}", missing.display())),
            ReplicaConfig { credentials: Some(missing.clone()), ..ReplicaConfig::at("s3://bucket") },
            ReplicaConfig { ca: Some(missing.clone()), ..ReplicaConfig::at("s3://bucket") },
        ] {
            let error = format!("{:#}", config.open().err().unwrap());
            assert!(error.contains("missing"), "{error}");
        }
    }
}
