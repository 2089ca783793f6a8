//! The rules that hold now, and the file that they come from.
//!
//! The file is polled, as the certificate's files are, and for the same reasons. What is found is acted on when two polls
//! in a row found the same, so that a file that is being written is neither used nor complained about; on SIGHUP at once.
//! New rules take the place of the old ones in one step. A file that cannot be used is logged once, shows in the status and
//! the metrics until it is mended or taken back, and changes nothing: the rules of before stay. A file that is taken away
//! takes its rules along.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Material, Rules, RulesError};

/// What was found when the file was read.
type Found = Result<Option<Material>, RulesError>;

/// The rules of a node.
#[derive(Debug)]
pub struct Rulebook {
    path: PathBuf,
    current: ArcSwapOption<Rules>,
    sight: Mutex<Sight>,
    refused: AtomicU64,
}

/// What was seen of the file.
#[derive(Debug)]
struct Sight {
    /// What was acted on last.
    settled: blake3::Hash,
    /// Something else, found once.
    seen: Option<blake3::Hash>,
    /// What is wrong with what was acted on.
    error: Option<String>,
}

/// How the rules are, for the status and the metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesStatus {
    /// What came of each, by its name and what its action does.
    pub counts: Vec<(String, String, u64)>,
    /// Rules that hold.
    pub rules: usize,
    /// Answers that are held now.
    pub held: u64,
    /// Files that were refused since the start.
    pub refused: u64,
    /// Why the file as it is now is not used.
    pub error: Option<String>,
}

impl Rulebook {
    /// The rules of this file; none if it is not there.
    ///
    /// # Errors
    /// [`RulesError`]: there are no rules of before that could stay.
    pub fn open(path: &Path) -> Result<Self, RulesError> {
        let found = Material::read(path)?;
        let rules = found.as_ref().map(|material| Rules::new(material, None)).transpose()?;
        if let Some(rules) = &rules {
            tracing::info!(file = %path.display(), rules = rules.iter().count(), "rules");
        }
        let sight = Sight { settled: hash(&Ok(found)), seen: None, error: None };
        Ok(Self {
            path: path.into(),
            current: ArcSwapOption::new(rules.map(Arc::new)),
            sight: Mutex::new(sight),
            refused: AtomicU64::new(0),
        })
    }

    /// The rules that hold now.
    pub fn current(&self) -> Option<Arc<Rules>> {
        self.current.load_full()
    }

    /// Reads the file, and acts on what it says if it says so for the second time, or `at_once`. Blocks.
    pub fn look(&self, at_once: bool) {
        let found = Material::read(&self.path);
        let is_new = {
            let (mut sight, found) = (self.sight(), hash(&found));
            let is_new = at_once || (found != sight.settled && sight.seen == Some(found));
            if is_new {
                sight.settled = found;
            }
            sight.seen = (found != sight.settled).then_some(found);
            is_new
        };
        if is_new {
            self.act(found);
        }
    }

    fn act(&self, found: Found) {
        let file = self.path.display();
        let before = self.current();
        let rules = found.and_then(|found| found.map(|material| Rules::new(&material, before.as_deref())).transpose());
        match rules {
            Ok(rules) => {
                match &rules {
                    Some(rules) => tracing::info!(%file, rules = rules.iter().count(), "other rules"),
                    None => tracing::info!(%file, "no rules"),
                }
                self.sight().error = None;
                self.current.store(rules.map(Arc::new));
            }
            Err(error) => {
                tracing::error!(%error, "these rules cannot be used; the ones before stay");
                self.refused.fetch_add(1, Relaxed);
                self.sight().error = Some(error.to_string());
            }
        }
    }

    /// Looks at the file every so often and on SIGHUP, until `cancel`.
    ///
    /// Must run within a tokio runtime with timers and signals. `every` must not be zero.
    pub async fn watch(self: Arc<Self>, every: Duration, cancel: CancellationToken) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut polls = interval(every);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hangup = async {
                if let Some(hangups) = &mut hangups
                    && hangups.recv().await.is_some()
                {
                    return;
                }
                std::future::pending().await
            };
            let asked = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = hangup => true,
                _ = polls.tick() => false,
            };
            let own = Arc::clone(&self);
            let _ = spawn_blocking(move || own.look(asked)).await;
        }
    }

    /// How they are.
    pub fn status(&self) -> RulesStatus {
        let rules = self.current();
        let all = || rules.iter().flat_map(|rules| rules.iter());
        let counts = all().flat_map(|rule| {
            let named = |(outcome, n): (&str, u64)| (rule.name().to_string(), outcome.to_owned(), n);
            rule.counts().map(named).collect::<Vec<_>>()
        });
        RulesStatus {
            counts: counts.collect(),
            rules: all().count(),
            held: rules.as_ref().map_or(0, |rules| rules.held() as u64),
            refused: self.refused.load(Relaxed),
            error: self.sight().error.clone(),
        }
    }

    fn sight(&self) -> MutexGuard<'_, Sight> {
        // It is changed in single steps.
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found, as one value; not being able to read it is one, too.
fn hash(found: &Found) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    match found {
        Ok(None) => {}
        Ok(Some(material)) => {
            let lists = material.lists.iter().map(|(path, text)| (path.as_path(), text));
            for (path, text) in std::iter::once((material.path.as_path(), &material.text)).chain(lists) {
                let path = path.as_os_str().as_encoded_bytes();
                hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        }
        Err(error) => drop(hasher.update(error.to_string().as_bytes())),
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DENY: &str = "[[rule]]\nname = \"a\"\naction = \"deny\"\n";

    fn names(book: &Rulebook) -> Vec<String> {
        let rules = book.current();
        rules.iter().flat_map(|rules| rules.iter()).map(|rule| rule.name().to_string()).collect()
    }

    #[test]
    fn rules_follow_the_file_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        let book = Rulebook::open(&path).unwrap();
        assert!(book.current().is_none());

        fs::write(&path, DENY).unwrap();
        book.look(false);
        assert!(book.current().is_none(), "it may be half of what is being written");
        book.look(false);
        assert_eq!(names(&book), ["a"]);

        let held = book.current().unwrap();
        fs::write(&path, format!("{DENY}\n[[rule]]\nname = \"b\"\naction = \"dney\"\n")).unwrap();
        (0..5).for_each(|_| book.look(false));
        assert!(Arc::ptr_eq(&held, &book.current().unwrap()));
        let status = book.status();
        assert_eq!((status.refused, status.rules), (1, 1));
        assert!(status.error.as_ref().unwrap().contains("line 7"), "{status:?}");

        // Back to what holds already: that is no error any more.
        fs::write(&path, DENY).unwrap();
        (0..2).for_each(|_| book.look(false));
        assert_eq!((book.status().error, book.status().refused), (None, 1));

        // A list counts as the file does.
        let with_list = "[[rule]]\nname = \"b\"\nnetwork_files = [\"drop.txt\"]\naction = \"deny\"\n";
        fs::write(&path, with_list).unwrap();
        book.look(true);
        assert!(book.status().error.unwrap().contains("drop.txt"));
        assert_eq!(names(&book), ["a"]);
        fs::write(folder.path().join("drop.txt"), "# theirs\n192.0.2.0/24 ; them\n\n198.51.100.7\n").unwrap();
        book.look(true);
        assert_eq!((names(&book), book.status().error), (vec!["b".into()], None));
        let before = book.current().unwrap();
        fs::write(folder.path().join("drop.txt"), "198.51.100.7\n").unwrap();
        (0..2).for_each(|_| book.look(false));
        assert!(!Arc::ptr_eq(&before, &book.current().unwrap()));
        fs::write(folder.path().join("drop.txt"), "198.51.100.7\n198.51.100.300\n").unwrap();
        book.look(true);
        let error = book.status().error.unwrap();
        assert!(error.contains("drop.txt") && error.contains("line 2") && error.contains("192.0.2.0/24"), "{error}");

        fs::remove_file(&path).unwrap();
        (0..2).for_each(|_| book.look(false));
        assert!(book.current().is_none());
    }

    #[test]
    fn bad_rules_at_the_start_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        fs::write(&path, "[[rule]]\nname = \"a\"\n").unwrap();
        let error = Rulebook::open(&path).unwrap_err().to_string();
        assert!(error.contains("rules.toml") && error.contains("line 1"), "{error}");
    }
}
