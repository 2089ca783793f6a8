//! Where the lines of the access log go: through a bounded queue to a thread that does nothing else.
//!
//! Disks and pipes block. So workers only put lines into the queue, and drop them, counted, when it is full.

use std::{
    fs::{File, OpenOptions, metadata},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::access::{AccessConfig, Addresses, Destination, Record};

/// Lines that may wait: some megabytes at their longest.
const QUEUE: usize = 4096;

/// Lines that are written at once.
const BATCH: usize = 256;

/// How often the thread looks up when there is nothing to write.
const IDLE: Duration = Duration::from_millis(250);

/// How often it looks whether its file is still where it was.
const CHECK: Duration = Duration::from_secs(1);

/// Readable for the group of whoever runs the node: a log may hold addresses of people.
const MODE: u32 = 0o640;

/// A file that cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("access log {path}: {source}")]
pub struct AccessLogError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The log. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<SyncSender<String>>,
    addresses: Addresses,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
    ending: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// One that drops everything, without counting it.
    pub fn off() -> Self {
        Self { queue: None, addresses: Addresses::None, shared: Arc::default() }
    }

    /// Opens the file, and starts the thread.
    ///
    /// # Errors
    /// [`AccessLogError`] if the file cannot be opened.
    pub fn start(config: &AccessConfig) -> Result<Self, AccessLogError> {
        let output = match &config.to {
            Destination::Off => return Ok(Self::off()),
            Destination::Stdout => Output::Stdout,
            Destination::File(path) => {
                let file = open(path).map_err(|source| AccessLogError { path: path.clone(), source })?;
                Output::File { path: path.clone(), file, checked: Instant::now() }
            }
        };
        let (log, lines) = Self::queued(config.addresses, QUEUE);
        let writer = Writer { output, shared: Arc::clone(&log.shared), batch: Vec::new(), failing: false };
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&lines));
        let thread = thread.map_err(|source| AccessLogError { path: "(its thread)".into(), source })?;
        *log.shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(log)
    }

    fn queued(addresses: Addresses, room: usize) -> (Self, Receiver<String>) {
        let (queue, lines) = sync_channel(room);
        (Self { queue: Some(queue), addresses, shared: Arc::default() }, lines)
    }

    /// Logs a request. Never waits.
    pub fn write(&self, record: &Record<'_>) {
        if let Some(queue) = &self.queue
            && queue.try_send(record.line(self.addresses)).is_err()
        {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Records that there was no room for, or that could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Has the file opened again, in case it was renamed. That is noticed without being asked, too, a second later.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }

    /// Calls [`AccessLog::reopen`] on every SIGHUP, until `cancel`. Must run within a tokio runtime with signals.
    pub async fn reopen_on_hangup(self, cancel: CancellationToken) {
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        while let Some(Some(())) = cancel.run_until_cancelled(hangups.recv()).await {
            self.reopen();
        }
    }

    /// Writes what waits, and ends the thread; later records count as dropped. Blocks for as long as the disk does.
    pub fn close(&self) {
        self.shared.ending.store(true, Relaxed);
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Writer {
    output: Output,
    shared: Arc<Shared>,
    batch: Vec<u8>,
    /// True after a failure, which is told once, until something is written again.
    failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<String>) {
        loop {
            let ending = self.shared.ending.load(Relaxed);
            // Looking comes before waiting: what is in the queue when the end is asked for is written.
            let first = lines.recv_timeout(if ending { Duration::ZERO } else { IDLE });
            let gone = matches!(first, Err(RecvTimeoutError::Disconnected));
            if let Ok(first) = first {
                self.write(first, lines);
            } else if ending || gone {
                return;
            }
            if self.output.is_due(self.shared.reopen.swap(false, Relaxed)) {
                let done = self.output.reopen();
                self.report(done);
            }
        }
    }

    fn write(&mut self, first: String, lines: &Receiver<String>) {
        self.batch.clear();
        if self.failing {
            // What failed may have left a part of a line.
            self.batch.push(b'\n');
        }
        let mut count = 0;
        for line in [first].into_iter().chain(lines.try_iter().take(BATCH)) {
            self.batch.extend_from_slice(line.as_bytes());
            count += 1;
        }
        let done = self.output.write(&self.batch);
        if done.is_err() {
            self.shared.dropped.fetch_add(count, Relaxed);
        } else {
            self.failing = false;
        }
        self.report(done);
    }

    fn report(&mut self, done: io::Result<()>) {
        if let Err(error) = done
            && !self.failing
        {
            self.failing = true;
            tracing::error!(%error, output = ?self.output, "cannot write the access log; serving goes on without");
        }
    }
}

#[derive(Debug)]
enum Output {
    Stdout,
    File { path: PathBuf, file: File, checked: Instant },
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(bytes),
        }
    }

    /// True if the file is to be opened again: it was asked for, or it is not at its path any more.
    fn is_due(&mut self, asked: bool) -> bool {
        let Self::File { path, file, checked } = self else { return false };
        if asked {
            return true;
        }
        if checked.elapsed() < CHECK {
            return false;
        }
        *checked = Instant::now();
        let same = |there: &std::fs::Metadata, here: &std::fs::Metadata| {
            (there.dev(), there.ino()) == (here.dev(), here.ino())
        };
        !matches!((metadata(path), file.metadata()), (Ok(there), Ok(here)) if same(&there, &here))
    }

    /// If it cannot be opened, the one before is kept.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file, .. } = self {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use tempfile::TempDir;

    use super::{super::Protocol, *};

    /// Longest that a test waits for anything before it counts as hanging.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn write(log: &AccessLog, status: u16) {
        log.write(&Record {
            at: SystemTime::UNIX_EPOCH,
            ip: "192.0.2.77".parse().unwrap(),
            protocol: Protocol::H1,
            head: None,
            status,
            bytes: 0,
            cut: None,
            took: None,
            rule: None,
        });
    }

    fn statuses(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let status = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].as_u64().unwrap();
        text.lines().map(status).collect()
    }

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn to_file(path: &Path) -> AccessLog {
        AccessLog::start(&AccessConfig { to: Destination::File(path.into()), ..Default::default() }).unwrap()
    }

    #[test]
    fn lines_reach_the_file_and_none_is_lost_at_the_end() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("access.log");
        fs::write(&path, "{\"status\":1}\n").unwrap();
        let log = to_file(&path);
        for status in 0..1000 {
            write(&log.clone(), status);
        }
        log.close();
        let expected: Vec<u64> = [1].into_iter().chain(0..1000).collect();
        assert_eq!((statuses(&path), log.dropped()), (expected, 0));
        write(&log, 7);
        assert_eq!(log.dropped(), 1);
        log.close();
    }

    #[test]
    fn a_renamed_file_is_begun_anew() {
        let dir = TempDir::new().unwrap();
        let (path, first, second) = (dir.path().join("a"), dir.path().join("a.1"), dir.path().join("a.2"));
        let log = to_file(&path);
        write(&log, 200);
        until("the first line", || statuses(&path) == [200]);
        fs::rename(&path, &first).unwrap();
        log.reopen();
        until("a new file", || path.exists());
        write(&log, 201);
        until("the second line", || statuses(&path) == [201]);
        // Without being told.
        fs::rename(&path, &second).unwrap();
        until("another new file", || path.exists());
        write(&log, 202);
        log.close();
        assert_eq!([&first, &second, &path].map(|path| statuses(path)), [[200], [201], [202]]);
        assert_eq!(metadata(&path).unwrap().mode() & 0o137, 0);
    }

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let (log, lines) = AccessLog::queued(Addresses::None, 2);
        for status in [200, 201, 202, 203] {
            write(&log, status);
        }
        assert_eq!(log.dropped(), 2);
        assert_eq!(lines.try_iter().count(), 2);
        let off = AccessLog::off();
        write(&off, 200);
        assert_eq!(off.dropped(), 0);
    }

    #[test]
    fn a_full_disk_costs_only_the_log() {
        let log = to_file(Path::new("/dev/full"));
        write(&log, 200);
        log.close();
        assert_eq!(log.dropped(), 1);
        let nowhere = AccessConfig { to: Destination::File("/nowhere/access.log".into()), ..Default::default() };
        assert!(AccessLog::start(&nowhere).unwrap_err().to_string().contains("/nowhere/access.log"));
    }

    #[tokio::test]
    async fn a_hangup_opens_the_file_again() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("access.log");
        let (log, cancel) = (to_file(&path), CancellationToken::new());
        // The signal must not end this process if it comes before the task listens.
        let _listening = signal(SignalKind::hangup()).unwrap();
        let task = tokio::spawn(log.clone().reopen_on_hangup(cancel.clone()));
        fs::remove_file(&path).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !path.exists() {
            assert!(Instant::now() < deadline);
            let pid = std::process::id().to_string();
            assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        task.await.unwrap();
        log.close();
    }
}
