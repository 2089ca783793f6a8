//! `difusor-node harden`: the packet filter and the kernel settings that a node should stand behind, from this node's own
//! configuration.
//!
//! The texts are the files of `deploy/nftables` and `deploy/sysctl`; [`texts`] fills in what differs from node to node.
//! Whoever applies them is not locked out: ssh is let in before anything is limited, a port that sshd listens on and that is
//! not let in is refused, and `nft` has checked the whole before anything is loaded. What was there before is kept.

mod sysctl;
mod texts;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use self::texts::Texts;
use crate::config::Config;

/// The table of the base ruleset.
const TABLE: &str = "difusor_base";

/// What to do.
#[derive(Debug, Args)]
pub struct Harden {
    /// Show the ruleset and the settings
    #[arg(long, conflicts_with_all = ["apply", "check"], required_unless_present_any = ["apply", "check"])]
    print: bool,
    /// Load both, and write them below /etc so that they come back (as root)
    #[arg(long, conflicts_with = "check")]
    apply: bool,
    /// Say what differs from what is recommended; exit code 1 if anything does (as root, for the ruleset)
    #[arg(long)]
    check: bool,
    /// TCP port of ssh, which is always let in
    #[arg(long, default_value_t = 22)]
    ssh_port: u16,
    /// Further TCP ports that are always let in, such as a monitor's
    #[arg(long, value_delimiter = ',')]
    also_tcp: Vec<u16>,
    /// The folder below which files are written
    #[arg(long, default_value = "/etc")]
    etc: PathBuf,
}

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The text.
    pub text: String,
    /// False if something differs, or could not be done.
    pub fine: bool,
}

impl Harden {
    /// Does it.
    ///
    /// # Errors
    /// If it cannot be, with what to do; then the ruleset is what it was.
    pub fn run(&self, config: &Config) -> anyhow::Result<Said> {
        let operators = self.also_tcp.iter().copied().chain([self.ssh_port]).collect();
        let texts = Texts::of(config, &operators)?;
        if self.apply {
            self.apply(&texts, &operators)
        } else if self.check {
            self.check(&texts)
        } else {
            let (rules, settings) = (self.rules(), self.settings());
            let text = format!("# {}\n{}\n# {}\n{}", rules.display(), texts.rules, settings.display(), texts.settings);
            Ok(Said { text, fine: true })
        }
    }

    fn rules(&self) -> PathBuf {
        self.etc.join("difusor/base.nft")
    }

    fn settings(&self) -> PathBuf {
        self.etc.join("sysctl.d/90-difusor.conf")
    }

    fn apply(&self, texts: &Texts, operators: &BTreeSet<u16>) -> anyhow::Result<Said> {
        ensure!(rustix::process::geteuid().is_root(), "only root may load a packet filter: sudo");
        let session = std::env::var("SSH_CONNECTION").unwrap_or_default();
        for port in texts::ssh_ports(&session, &read_or_nothing(&self.etc.join("ssh/sshd_config"))) {
            ensure!(
                operators.contains(&port),
                "sshd listens on port {port}, which would be closed: add --ssh-port {port} (or --also-tcp {port})"
            );
        }
        let rules = self.rules();
        let (folder, new) = (self.etc.join("difusor"), rules.with_extension("nft.new"));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(&new, &texts.rules).with_context(|| format!("writing {}", new.display()))?;
        nft(&["-c", "-f"], Some(&new)).context("nothing was changed")?;

        let (mut text, mut fine) = (String::new(), true);
        let before = folder.join("ruleset.before.nft");
        fs::write(&before, nft(&["list", "ruleset"], None)?)?;
        let _ = writeln!(text, "{}: all rules as they were (back: nft flush ruleset; nft -f it)", before.display());
        nft(&["-f"], Some(&new))?;
        let _ = writeln!(text, "table inet {TABLE}: loaded");
        keep(&rules, &texts.rules, &mut text)?;
        fs::rename(&new, &rules)?;
        let _ = writeln!(text, "{}: written", rules.display());

        // Behind the rules, which load the module that some of them belong to.
        let settings = self.settings();
        fs::create_dir_all(self.etc.join("sysctl.d"))?;
        keep(&settings, &texts.settings, &mut text)?;
        fs::write(&settings, &texts.settings).with_context(|| format!("writing {}", settings.display()))?;
        let _ = writeln!(text, "{}: written", settings.display());
        for setting in sysctl::settings(&texts.settings) {
            fine &= setting.apply(&mut text);
        }
        text.push_str(
            "To have the rules back when the machine starts: systemctl enable difusor-firewall (deploy/systemd)\n",
        );
        Ok(Said { text, fine })
    }

    fn check(&self, texts: &Texts) -> anyhow::Result<Said> {
        let mut text = String::new();
        for setting in sysctl::settings(&texts.settings) {
            setting.check(&mut text);
        }
        for (path, wanted) in [(self.rules(), &texts.rules), (self.settings(), &texts.settings)] {
            if read_or_nothing(&path) != *wanted {
                let _ = writeln!(text, "{}: missing, or not what is recommended now", path.display());
            }
        }
        match nft(&["-s", "-t", "list", "table", "inet", TABLE], None) {
            Err(error) => drop(writeln!(text, "table inet {TABLE}: {error:#}")),
            Ok(loaded) => match as_listed(&texts.rules) {
                Ok(wanted) => differences(&loaded, &wanted, &mut text),
                Err(error) => drop(writeln!(text, "table inet {TABLE}: is loaded, and cannot be compared: {error:#}")),
            },
        }
        let fine = text.is_empty();
        if fine {
            text.push_str("rules and settings are as recommended\n");
        }
        Ok(Said { text, fine })
    }
}

/// The rules as `nft` lists them, by loading them where they meet no packet: in a network namespace of their own.
fn as_listed(rules: &str) -> anyhow::Result<String> {
    let file = std::env::temp_dir().join(format!("difusor-harden-{}.nft", std::process::id()));
    // A new file, or nothing: others can write to that folder, too.
    let mut new = fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
    io::Write::write_all(&mut new, rules.as_bytes())?;
    let script = format!("nft -f \"$1\" && nft -s -t list table inet {TABLE}");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script, "sh"]).arg(&file);
    let listed = output(command);
    let _ = fs::remove_file(&file);
    listed
}

/// Lines that only one of them has.
fn differences(loaded: &str, wanted: &str, text: &mut String) {
    let lines = |of: &str| of.lines().map(|line| line.trim().to_owned()).collect::<BTreeSet<_>>();
    let (loaded_lines, wanted_lines) = (lines(loaded), lines(wanted));
    for line in loaded_lines.difference(&wanted_lines) {
        let _ = writeln!(text, "table inet {TABLE}: not recommended: {line}");
    }
    for line in wanted_lines.difference(&loaded_lines) {
        let _ = writeln!(text, "table inet {TABLE}: missing: {line}");
    }
    if loaded_lines == wanted_lines && loaded != wanted {
        let _ = writeln!(text, "table inet {TABLE}: its rules are in another order");
    }
}

/// Keeps a file that is about to be replaced by another text.
fn keep(path: &Path, by: &str, text: &mut String) -> anyhow::Result<()> {
    let was = read_or_nothing(path);
    if !was.is_empty() && was != by {
        let mut kept = path.as_os_str().to_owned();
        kept.push(".before");
        fs::write(&kept, was)?;
        let _ = writeln!(text, "{}: as {} was", Path::new(&kept).display(), path.display());
    }
    Ok(())
}

fn read_or_nothing(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn nft(args: &[&str], file: Option<&Path>) -> anyhow::Result<String> {
    let mut command = Command::new("nft");
    command.args(args).args(file);
    output(command)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("`{name}` is not on this machine: install nftables and util-linux")
        }
        Err(error) => return Err(error).with_context(|| name),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())
}
