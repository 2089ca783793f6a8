//! What is done by hand to a node that runs: `difusor-node block NET`, `unblock NET` and `blocked` talk to it over a Unix
//! socket in its folder.
//!
//! Bans are the node's own, and so is its table in the kernel, which `nft` cannot fill. A socket in the file system and not a
//! request to the status address: who may use it is said by its owner and mode (0600), no browser can be led to it, and a
//! status that is shown to others stays harmless.
//!
//! One line each way, then the answer's further lines: `block NET MS`, `unblock NET`, `list`; `ok`, or what is wrong.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Subcommand;
use difusor_proto::units::Span;

use ipnet::IpNet;

use crate::{
    admission::offenders::Offenders,
    kernel::{Blocklist, network, plain},
};

/// The longest line that is read.
const LINE: u64 = 256;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an operator does by hand.
#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Have the kernel drop what comes from a source or network, for a time (`[kernel] block = true`)
    Block {
        /// An IPv4 address or /24, an IPv6 address, /64 or /48
        net: String,
        /// For how long; `longest` in the configuration is the most
        #[arg(long = "for", default_value = "10 m")]
        for_: Span,
    },
    /// Let a source or network in again, whether it was blocked by hand or banned by the node
    Unblock {
        /// As it was blocked, or wider: bans of everyone in it end
        net: String,
    },
    /// Say who is banned, and whose packets are dropped, and for how long still
    Blocked,
}

/// Bans that are shown at most.
const SHOWN: usize = 10_000;

/// What can be done by hand.
#[derive(Debug, Clone)]
pub struct Hand {
    /// Whose packets the kernel drops, if it is given anyone.
    pub blocklist: Option<Arc<Blocklist>>,
    /// Who is banned, if anyone ever is.
    pub offenders: Option<Arc<Offenders>>,
}

/// Answers operators on a thread of its own, until the returned value is dropped.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(path: &Path, hand: Hand) -> io::Result<Serving> {
    // One that a process of before has left.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let alive = Arc::new(());
    let is_over = Arc::downgrade(&alive);
    thread::Builder::new().name("by-hand".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if is_over.strong_count() == 0 {
                return;
            }
            if let Err(error) = answer(&stream, &hand) {
                tracing::debug!(%error, "an operator went away");
            }
        }
    })?;
    Ok(Serving { path: path.into(), alive: Some(alive) })
}

/// Operators are answered while it lives.
#[derive(Debug)]
pub struct Serving {
    path: PathBuf,
    alive: Option<Arc<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The thread looks up, and finds that it is over.
        drop(self.alive.take());
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
    }
}

fn answer(mut stream: &UnixStream, hand: &Hand) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line)?;
    let text = hand.carry_out(line.trim_end()).unwrap_or_else(|wrong| format!("{wrong}\n"));
    stream.write_all(text.as_bytes())
}

impl Hand {
    /// What the line asks for.
    fn carry_out(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let net = |text: &str| network(text).map(plain).ok_or_else(|| format!("`{text}` is no address and no network"));
        match *words.as_slice() {
            ["block", text, ms] => {
                let ms = ms.parse().map_err(|_| format!("`{ms}` is no number of milliseconds"))?;
                self.block(net(text)?, Duration::from_millis(ms))
            }
            ["unblock", text] => self.let_in(net(text)?),
            ["list"] => Ok(self.list()),
            _ => Err("not understood: node and command line are of different versions".into()),
        }
    }

    fn block(&self, net: IpNet, for_: Duration) -> Result<String, String> {
        let list = self.blocklist.as_ref().ok_or(
            "this node gives nothing to the kernel: write `block = true` under [kernel], or see its log for why it cannot",
        )?;
        list.block(net, for_).map_err(|refused| refused.to_string())?;
        // Behind this, the kernel has been told.
        if !list.entries().iter().any(|(one, _)| *one == net) {
            return Err("there is no room: see `entries` under [kernel]".into());
        }
        tracing::info!(%net, ?for_, "blocked by hand");
        Ok("ok\n".into())
    }

    fn let_in(&self, net: IpNet) -> Result<String, String> {
        let now = Instant::now();
        // Whom a ban was of is in the kernel as such, also if a wider network is pardoned.
        let bans = self.offenders.as_ref().map(|offenders| offenders.list(now, usize::MAX)).unwrap_or_default();
        let banned: Vec<_> = bans.into_iter().map(|ban| ban.network).filter(|one| net.contains(one)).collect();
        let pardoned = self.offenders.as_ref().map_or(0, |offenders| offenders.pardon(net));
        if let Some(list) = &self.blocklist {
            for one in banned.into_iter().filter(|one| *one != net) {
                list.unblock(one).map_err(|refused| refused.to_string())?;
            }
            match list.unblock(net) {
                Err(refused) if pardoned == 0 => return Err(refused.to_string()),
                _ => {}
            }
            drop(list.entries());
        }
        tracing::info!(%net, bans = pardoned, "let in again by hand");
        Ok("ok\n".into())
    }

    /// A line for each: who, how long still, and why.
    fn list(&self) -> String {
        let bans = self.offenders.as_ref().map(|offenders| offenders.list(Instant::now(), SHOWN)).unwrap_or_default();
        let bans = bans
            .into_iter()
            .map(|ban| (ban.network, Duration::from_secs(ban.seconds), format!("banned ({})", ban.offence.name())));
        let dropped = self.blocklist.as_ref().map(|list| list.entries()).unwrap_or_default();
        let dropped = dropped
            .into_iter()
            .map(|(net, left)| (net, Duration::from_secs(left.as_secs() + 1), "packets dropped".to_owned()));
        let mut lines: Vec<_> = bans.chain(dropped).collect();
        lines.sort();
        let mut text = String::from("ok\n");
        for (net, left, why) in lines {
            let _ = writeln!(text, "{net} {} {why}", Span(left));
        }
        text
    }
}

/// Asks the node that runs; gives what is to be shown.
///
/// # Errors
/// If no node runs, and what it refuses.
pub fn ask(path: &Path, what: &Operator) -> anyhow::Result<String> {
    let line = match what {
        Operator::Block { net, for_ } => format!("block {} {}\n", net.trim(), for_.0.as_millis()),
        Operator::Unblock { net } => format!("unblock {}\n", net.trim()),
        Operator::Blocked => "list\n".into(),
    };
    let mut stream = UnixStream::connect(path)
        .with_context(|| format!("{}: no node runs here, or it is of another user", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.strip_prefix("ok\n") {
        Some(rest) => Ok(rest.into()),
        None => anyhow::bail!("{}", if text.is_empty() { "the node is ending" } else { text.trim_end() }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        admission::{budgets::BudgetsConfig, door::Door, offenders::Offence},
        proxied::Trust,
    };

    #[test]
    fn whoever_was_banned_is_let_in_again() {
        let door = Door::new(&BudgetsConfig::default(), &Trust::default()).unwrap();
        let (who, now): (IpAddr, _) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let ban = || (0..20).for_each(|_| door.blame(who, Offence::Abuse, now));
        ban();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let hand = Hand { blocklist: None, offenders: door.offenders().cloned() };
        let serving = serve(&path, hand).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let listed = ask(&path, &Operator::Blocked).unwrap();
        assert!(listed.starts_with("192.0.2.1/32 ") && listed.ends_with(" banned (abuse)\n"), "{listed}");
        let unblock = |net: &str| ask(&path, &Operator::Unblock { net: net.into() }).unwrap();
        unblock("192.0.2.2");
        assert!(door.is_banned(who, now));
        for net in ["192.0.2.1", "192.0.2.0/24", "::ffff:192.0.2.1", "0.0.0.0/0"] {
            ban();
            assert!(door.is_banned(who, now));
            unblock(net);
            assert!(!door.is_banned(who, now), "{net}");
        }
        assert_eq!(ask(&path, &Operator::Blocked).unwrap(), "");
        let block = Operator::Block { net: "192.0.2.1".into(), for_: Span(Duration::from_secs(1)) };
        assert!(ask(&path, &block).unwrap_err().to_string().contains("block = true"));
        drop(serving);
        assert!(!path.exists());
        assert!(ask(&path, &Operator::Blocked).unwrap_err().to_string().contains("no node runs here"));
    }
}
