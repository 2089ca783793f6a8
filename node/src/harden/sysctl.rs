//! Kernel settings: read from the shipped text, compared with the machine, and set.

use std::{fmt::Write as _, fs, path::PathBuf};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    key: String,
    value: String,
    fit: Fit,
    may_be_missing: bool,
}

/// Which values are as good.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fit {
    Same,
    Least,
    Or(String),
}

/// All settings of a text in the form of sysctl.conf(5). Comments directly above one say which other values are as good.
pub(super) fn settings(text: &str) -> Vec<Setting> {
    let (mut fit, mut may_be_missing, mut all) = (Fit::Same, false, Vec::new());
    for line in text.lines() {
        match line.trim() {
            "# least" => fit = Fit::Least,
            "# optional" => may_be_missing = true,
            line => {
                if let Some(other) = line.strip_prefix("# or ") {
                    fit = Fit::Or(other.into());
                } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                    let fit = std::mem::replace(&mut fit, Fit::Same);
                    let may_be_missing = std::mem::take(&mut may_be_missing);
                    all.push(Setting { key: key.trim().into(), value: value.trim().into(), fit, may_be_missing });
                }
            }
        }
    }
    all
}

impl Setting {
    fn path(&self) -> PathBuf {
        PathBuf::from("/proc/sys").join(self.key.replace('.', "/"))
    }

    /// What the machine has; none if it does not know the setting.
    fn current(&self) -> Option<String> {
        Some(fs::read_to_string(self.path()).ok()?.trim().to_owned())
    }

    fn fits(&self, current: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        match &self.fit {
            Fit::Same => current == self.value,
            Fit::Or(other) => current == self.value || current == other,
            Fit::Least => number(current).zip(number(&self.value)).is_some_and(|(is, least)| is >= least),
        }
    }

    /// Writes a line if the machine's value is not as recommended.
    pub(super) fn check(&self, text: &mut String) {
        let Self { key, value, .. } = self;
        let _ = match self.current() {
            Some(current) if self.fits(&current) => Ok(()),
            Some(current) => writeln!(text, "{key}: is {current}, recommended {value}"),
            None if self.may_be_missing => Ok(()),
            None => writeln!(text, "{key}: this kernel, or network namespace, does not have it; recommended {value}"),
        };
    }

    /// Sets it if it is not as recommended, and writes what became of it; false if it could not be set.
    pub(super) fn apply(&self, text: &mut String) -> bool {
        let Self { key, value, .. } = self;
        let Some(current) = self.current() else {
            self.check(text);
            return self.may_be_missing;
        };
        if self.fits(&current) {
            return true;
        }
        let written = fs::write(self.path(), value);
        let _ = match &written {
            Ok(()) => writeln!(text, "{key}: {current} -> {value}"),
            Err(error) => writeln!(text, "{key}: stays {current}, not {value}: {error}"),
        };
        written.is_ok() || self.may_be_missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_as_good() {
        let all =
            settings("# text, with = in it\na.b = 1\n\n# why\n# least\nc.d = 10\n# or 1\ne = 2\n# optional\nf = x y\n");
        assert_eq!(all.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["a.b", "c.d", "e", "f"]);
        let fits = |at: usize, current: &str| all[at].fits(current);
        assert!(fits(0, "1") && !fits(0, "2") && !fits(0, "0"));
        assert!(fits(1, "10") && fits(1, "4096") && !fits(1, "9") && !fits(1, "x"));
        assert!(fits(2, "2") && fits(2, "1") && !fits(2, "0"));
        assert!(fits(3, "x y") && all[3].may_be_missing && !all[0].may_be_missing);
    }

    #[test]
    fn every_shipped_setting_is_read() {
        let shipped = include_str!("../../../deploy/sysctl/90-difusor.conf");
        let all = settings(shipped);
        assert_eq!(all.len(), shipped.lines().filter(|line| !line.starts_with('#') && line.contains('=')).count());
        for one in all {
            assert!(one.key.starts_with("net.") && !one.value.is_empty(), "{one:?}");
            assert_eq!(one.fit == Fit::Least, shipped.contains(&format!("# least\n{} =", one.key)), "{one:?}");
        }
    }
}
