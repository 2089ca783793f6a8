//! Noticing that the files of the certificate changed.
//!
//! Their content is polled. Watching them (inotify) would have to follow every symbolic link on the way, as certbot
//! swaps one and Kubernetes another above it, and is silent on network file systems; reading a few kilobytes every few
//! seconds costs nothing and cannot miss anything.
//!
//! Two files cannot be replaced at once, nor written at once. So what is found is acted on when two polls in a row
//! found the same: a pair that is still being written is neither shown nor complained about.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{CertificateError, Certificates, Reloaded, files::Material};

/// How often trouble with the certificate that is shown is told again.
const REMINDER: Duration = Duration::from_secs(86_400);

/// What was found, to decide whether to act on it.
#[derive(Debug)]
struct Vigil {
    /// The content that was acted on last.
    settled: blake3::Hash,
    /// Another one, found once.
    seen: Option<blake3::Hash>,
}

impl Vigil {
    /// True if what was found now is to be acted on.
    fn look(&mut self, found: blake3::Hash, at_once: bool) -> bool {
        let act = at_once || (found != self.settled && self.seen == Some(found));
        if act {
            self.settled = found;
        }
        self.seen = (found != self.settled).then_some(found);
        act
    }
}

impl Certificates {
    /// Shows whatever usable pair the files hold, a poll or two after they change and on SIGHUP at once, until
    /// `cancel`. A pair that cannot be used is logged once, and the one that is shown stays.
    ///
    /// Must run within a tokio runtime with timers and signals. `every` must not be zero.
    pub async fn watch(self: Arc<Self>, every: Duration, cancel: CancellationToken) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let (mut polls, mut reminders) = (interval(every), interval(REMINDER));
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut vigil = Vigil { settled: self.content(), seen: None };
        loop {
            let asked = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = hangup(&mut hangups) => true,
                _ = polls.tick() => false,
                _ = reminders.tick() => {
                    self.remind();
                    continue;
                }
            };
            let files = self.files.clone();
            let Ok(found) = spawn_blocking(move || files.read()).await else { continue };
            if vigil.look(content(&found), asked) {
                self.act(found);
            }
        }
    }

    fn act(&self, found: Result<Material, CertificateError>) {
        match found.and_then(|material| self.show(&material)) {
            Ok(Reloaded::Changed) => {
                tracing::info!(certificate = %self.files.chain.display(), "the site has another certificate");
                self.remind();
            }
            Ok(Reloaded::Same) => tracing::info!("the certificate is the one that is shown already"),
            Err(error) => {
                let advice = error.advice();
                tracing::error!(%error, advice, "the new certificate cannot be used; showing the one before");
            }
        }
    }

    fn remind(&self) {
        let trouble = self.validity().and_then(|validity| validity.trouble(SystemTime::now()));
        if let Some(trouble) = trouble {
            tracing::warn!(certificate = %self.files.chain.display(), "the certificate {trouble}; renew it");
        }
    }
}

/// What was found, as one value; not being able to read it is one, too.
fn content(found: &Result<Material, CertificateError>) -> blake3::Hash {
    match found {
        Ok(material) => material.content(),
        Err(error) => blake3::hash(error.to_string().as_bytes()),
    }
}

async fn hangup(signals: &mut Option<Signal>) {
    if let Some(signals) = signals
        && signals.recv().await.is_some()
    {
        return;
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_on_what_stays() {
        let content = |n: u8| blake3::hash(&[n]);
        let mut vigil = Vigil { settled: content(0), seen: None };
        let table = [
            (0, false, false),
            // Half written, then written: acted on when it is found again, and once.
            (1, false, false),
            (2, false, false),
            (2, false, true),
            (2, false, false),
            // There and back.
            (3, false, false),
            (2, false, false),
            (3, false, false),
            (3, false, true),
            // Asked for: at once, and whatever it is.
            (4, true, true),
            (4, false, false),
            (4, true, true),
        ];
        for (step, (found, asked, acts)) in table.into_iter().enumerate() {
            assert_eq!(vigil.look(content(found), asked), acts, "step {step}");
        }
    }
}
