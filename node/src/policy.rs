//! What the operator decides about answers: where the site is mounted, who may embed it, which addresses are pages of
//! an application.
//!
//! Read once from the configuration; the blocks that follow from it are made with each snapshot.

use std::time::Duration;

use serde::Deserialize;

use difusor_proto::units::Span;

use crate::address;

/// The `[site]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Names under which the site is asked for; empty means any. Others get 421 (RFC 9110 section 15.5.20).
    pub hosts: Vec<String>,
    /// The path under which the site is mounted, with a slash at both ends, not percent-encoded: `/` or `/prep2024/`.
    pub mount: String,
    /// Who may show pages in a frame: sources of `frame-ancestors` (CSP level 3).
    pub embed: Vec<String>,
    /// Addresses that a page's program makes up: whatever begins with the prefix and is no file is answered with the
    /// page.
    pub fallback: Vec<Fallback>,
    /// For how long browsers are told to come by TLS only (RFC 6797); zero says nothing.
    pub hsts: Span,
    /// How many cuts stay addressable, the current one included.
    pub keep: usize,
    /// Bounds of the lifetime of results in caches.
    pub fresh: Fresh,
}

/// A prefix and its page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The beginning of the path, with its slash at the front, without the mount, not percent-encoded.
    pub prefix: String,
    /// The name of the file that answers.
    pub page: String,
}

/// How long caches may use results without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fresh {
    /// At least; a cut that is due can come at any moment.
    pub least: Span,
    /// At most: how far two visitors can be apart.
    pub most: Span,
    /// How long caches may go on with what they have while they ask (RFC 5861 section 3).
    pub while_revalidate: Span,
    /// How long caches may go on with what they have while no node answers (RFC 5861 section 4).
    pub if_error: Span,
}

impl Fallback {
    /// The beginning of the names of files: the prefix without the slash at its front.
    pub(crate) fn folder(&self) -> &str {
        self.prefix.strip_prefix('/').unwrap_or(&self.prefix)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            mount: "/".into(),
            embed: vec!["'self'".into()],
            fallback: Vec::new(),
            hsts: Span(Duration::ZERO),
            keep: 12,
            fresh: Fresh::default(),
        }
    }
}

impl Default for Fresh {
    fn default() -> Self {
        Self {
            least: Span(Duration::from_secs(5)),
            most: Span(Duration::from_secs(30)),
            while_revalidate: Span(Duration::from_secs(15)),
            if_error: Span(Duration::from_secs(86_400)),
        }
    }
}

impl Policy {
    /// Checks what a type cannot.
    ///
    /// # Errors
    /// Says which key is wrong, and what to write.
    pub fn check(&self) -> Result<(), String> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        // Paths are written as they read: `/méxico/`, not `/m%C3%A9xico/`.
        let is_path = |path: &str| {
            let stands = |char: char| !char.is_control() && !char.is_whitespace() && !"%?#\\".contains(char);
            path.starts_with('/') && !path.contains("//") && path.chars().all(stands)
        };
        if !(is_path(&self.mount) && self.mount.ends_with('/')) {
            let mount = &self.mount;
            return Err(format!(
                "site.mount: \"{mount}\" is not a path with a slash at both ends, without spaces, %, ? and #"
            ));
        }
        if let Some(host) = self.hosts.iter().find(|host| !visible(host) || host.contains(['/', '@'])) {
            return Err(format!("site.hosts: \"{host}\" is not the name of a host"));
        }
        let is_source = |source: &str| visible(source) && !source.contains([';', ',']);
        if let Some(source) = self.embed.iter().find(|source| !is_source(source)) {
            return Err(format!("site.embed: \"{source}\" is not a source, such as https://portal.example"));
        }
        for Fallback { prefix, page } in &self.fallback {
            if !is_path(prefix) || page.starts_with('/') || page.is_empty() {
                return Err(format!(
                    "site.fallback: write prefix = \"/publicacion/\" and page = \"index.html\", not \"{prefix}\" and \"{page}\""
                ));
            }
        }
        if self.keep == 0 {
            return Err("site.keep: at least 1, the cut that is served".into());
        }
        if self.fresh.least.0 > self.fresh.most.0 {
            return Err("site.fresh: least is more than most".into());
        }
        Ok(())
    }

    /// The mount as a folder: without the slash at its front.
    pub(crate) fn folder(&self) -> &str {
        self.mount.strip_prefix('/').unwrap_or(&self.mount)
    }

    /// True if this path is the mount without the slash at its end.
    pub(crate) fn is_bare_mount(&self, path: &[u8]) -> bool {
        let bare = self.folder().strip_suffix('/').filter(|bare| !bare.is_empty());
        bare.is_some_and(|bare| address::decode(path).is_some_and(|name| *name == *bare.as_bytes()))
    }

    /// The value of `Strict-Transport-Security` (RFC 6797 section 6.1), if there is to be one.
    pub(crate) fn strict_transport_security(&self) -> Option<String> {
        let age = self.hsts.0.as_secs();
        (age > 0).then(|| format!("max-age={age}"))
    }

    /// True if a request for this authority is for this site. Ports do not matter: who got here, got here.
    pub(crate) fn is_host(&self, authority: Option<&[u8]>) -> bool {
        // HTTP/1.0 clients need not name the host.
        let Some(authority) = authority.filter(|_| !self.hosts.is_empty()) else { return true };
        let name = match authority.iter().rposition(|byte| *byte == b':') {
            Some(colon) if authority.iter().skip(colon + 1).all(u8::is_ascii_digit) => authority.get(..colon),
            _ => Some(authority),
        };
        let name = name.unwrap_or_default();
        // An absolute name is the same host (RFC 3986 section 3.2.2).
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.hosts.iter().any(|host| host.as_bytes().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let open = Policy::default();
        assert!(open.check().is_ok() && open.is_host(Some(b"anything")) && open.is_host(None));
        let named = Policy { hosts: vec!["prep.example.org".into(), "[2001:db8::1]".into()], ..open };
        assert!(named.check().is_ok());
        for (authority, ours) in [
            ("prep.example.org", true),
            ("PREP.example.org:443", true),
            ("[2001:db8::1]:8443", true),
            ("[2001:db8::1]", true),
            ("example.org", false),
            ("prep.example.org.evil", false),
            ("prep.example.org:x", false),
            ("", false),
        ] {
            assert_eq!(named.is_host(Some(authority.as_bytes())), ours, "{authority}");
        }
        assert!(named.is_host(None));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().unwrap_err()
        };
        assert!(wrong(|p| p.mount = "prep/".into()).contains("mount"));
        assert!(wrong(|p| p.mount = "/prep".into()).contains("mount"));
        for mount in ["/a b/", "/a%20b/", "//", "/a//b/", "/a\\b/", "/a?/", "/\u{7f}/", ""] {
            let policy = Policy { mount: mount.into(), ..Policy::default() };
            assert!(policy.check().unwrap_err().contains("mount"), "{mount}");
        }
        assert_eq!(Policy { mount: "/m\u{e9}xico/".into(), ..Policy::default() }.check(), Ok(()));
        assert!(wrong(|p| p.hosts = vec!["https://x".into()]).contains("hosts"));
        assert!(wrong(|p| p.embed = vec!["a; script-src b".into()]).contains("embed"));
        assert!(wrong(|p| p.fallback = vec![Fallback { prefix: "x".into(), page: "y".into() }]).contains("fallback"));
        assert!(wrong(|p| p.keep = 0).contains("keep"));
        assert!(wrong(|p| p.fresh.least = Span(Duration::from_secs(60))).contains("fresh"));
    }
}
