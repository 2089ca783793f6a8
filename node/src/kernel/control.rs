//! Blocking by hand: `difusor-node block NET`, `unblock NET` and `blocked` talk to the node that runs, over a Unix socket
//! in its folder.
//!
//! The table belongs to the node, so `nft` cannot fill it. A socket in the file system and not a request to the status
//! address: who may use it is said by its owner and mode (0600), no browser can be led to it, and a status that is
//! shown to others stays harmless.
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
    path::Path,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::Subcommand;
use difusor_proto::units::Span;

use super::{Blocklist, network};

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
    /// Let a source or network in again
    Unblock {
        /// As it was blocked
        net: String,
    },
    /// Say who is blocked, and for how long still
    Blocked,
}

/// Answers operators on a thread of its own, as long as the list lives.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(path: &Path, list: &Arc<Blocklist>) -> io::Result<()> {
    // One that a process of before has left.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let list = Arc::downgrade(list);
    thread::Builder::new().name("kernel-hand".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if list.strong_count() == 0 {
                return;
            }
            if let Err(error) = answer(&stream, &list) {
                tracing::debug!(%error, "an operator went away");
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: &UnixStream, list: &Weak<Blocklist>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line)?;
    let Some(list) = list.upgrade() else { return Ok(()) };
    let text = carry_out(&list, line.trim_end()).unwrap_or_else(|wrong| format!("{wrong}\n"));
    drop(list);
    stream.write_all(text.as_bytes())
}

/// What the line asks for.
fn carry_out(list: &Blocklist, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split(' ').collect();
    let net = |text: &str| network(text).ok_or_else(|| format!("`{text}` is no address and no network"));
    match *words.as_slice() {
        ["block", text, ms] => {
            let ms = ms.parse().map_err(|_| format!("`{ms}` is no number of milliseconds"))?;
            let (net, for_) = (net(text)?, Duration::from_millis(ms));
            list.block(net, for_).map_err(|refused| refused.to_string())?;
            // Behind this, the kernel has been told.
            let is_in = list.entries().iter().any(|(one, _)| *one == super::plain(net));
            if !is_in {
                return Err("there is no room: see `entries` under [kernel]".into());
            }
            tracing::info!(%net, ?for_, "blocked by hand");
            Ok("ok\n".into())
        }
        ["unblock", text] => {
            let net = net(text)?;
            list.unblock(net).map_err(|refused| refused.to_string())?;
            drop(list.entries());
            tracing::info!(%net, "let in again by hand");
            Ok("ok\n".into())
        }
        ["list"] => {
            let mut text = String::from("ok\n");
            let mut entries = list.entries();
            entries.sort();
            for (net, left) in entries {
                let _ = writeln!(text, "{net} {}", Span(Duration::from_secs(left.as_secs() + 1)));
            }
            Ok(text)
        }
        _ => Err("not understood: node and command line are of different versions".into()),
    }
}

/// Asks the node that runs; gives what is to be shown.
///
/// # Errors
/// If no node runs or it gives nothing to the kernel, and what it refuses.
pub fn ask(path: &Path, what: &Operator) -> anyhow::Result<String> {
    let line = match what {
        Operator::Block { net, for_ } => format!("block {} {}\n", net.trim(), for_.0.as_millis()),
        Operator::Unblock { net } => format!("unblock {}\n", net.trim()),
        Operator::Blocked => "list\n".into(),
    };
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!(
            "{}: no node runs here, or its log says why it gives nothing to the kernel ([kernel] block = true)",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(line.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.strip_prefix("ok\n") {
        Some(rest) => Ok(rest.into()),
        None => anyhow::bail!("{}", if text.is_empty() { "the node is ending" } else { text.trim_end() }),
    }
}
