//! The command line of the rules: what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

/// Exit code, standard output, standard error.
fn run(folder: &tempfile::TempDir, args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_difusor-node"));
    command.arg("--config").arg(folder.path().join("node.toml")).args(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn requests_are_tried_before_visitors_meet_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let (code, example, _) = run(&folder, &["rules", "example"], "");
    assert_eq!(code, 0);
    let (code, out, err) = run(&folder, &["rules", "check"], "");
    assert!(code == 0 && out.contains("0 rules") && err.contains("not there"), "{out}{err}");
    fs::write(folder.path().join("node.toml"), "rules = \"own.toml\"\nproxies = [\"10.0.0.1\"]\n").unwrap();
    fs::write(folder.path().join("own.toml"), example).unwrap();
    let (code, out, _) = run(&folder, &["rules", "check"], "");
    assert!(code == 0 && out.contains("4 rules"), "{out}");
    assert_eq!(run(&folder, &["--check"], "").0, 0);

    let test = |args: &[&str]| run(&folder, &[&["rules", "test"], args].concat(), "");
    let (code, out, _) = test(&["--address", "203.0.113.9", "--path", "/x.csv", "--header", "user-agent: curl/8"]);
    assert_eq!(code, 3);
    assert_eq!(
        out,
        "- newsroom: not met: networks, 2 of them\n+ known-attackers: close: the connection ends without an answer\n"
    );
    let (code, out, _) = test(&["--address", "203.0.113.7", "--path", "/x.csv?a=b", "--method", "GET"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("- known-attackers: excepted: networks") && out.contains("+ scripts-on-csv: throttle: 5"),
        "{out}"
    );
    let (code, out, _) = test(&["--address", "10.0.0.1", "--header", "X-Forwarded-For: 198.51.100.9"]);
    assert!(code == 0 && out.starts_with("+ newsroom: allow"), "{out}");
    let (code, out, _) = test(&["--address", "192.0.2.1"]);
    assert!(code == 0 && out.contains("No rule is about it"), "{out}");
    assert_eq!(test(&["--path", "/"]).0, 2);
    assert_eq!(test(&["--address", "192.0.2.1", "--header", "curl"]).0, 1);

    // The node's own log, and lines that say more or nothing.
    let log = r#"{"time":"2021-06-06T22:40:00.123Z","ip":"192.0.2.0","protocol":"h2","method":"GET","path":"/a/b.csv","status":200,"bytes":1,"user_agent":"Go-http-client/2.0"}
{"ip":"203.0.113.0","protocol":"h1","method":"GET","path":"/","status":200,"bytes":1,"user_agent":"curl/8"}
{"path":"/","headers":{"User-Agent":"Mozilla/5.0"}}
{"ip":"192.0.2.0","protocol":"h1","status":400,"bytes":1}

nothing
"#;
    let (code, out, _) = run(&folder, &["rules", "test", "--log", "-"], log);
    assert_eq!(code, 0);
    let counts: Vec<&str> = out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(counts, ["0", "1", "1", "1", "0", "1", "2"], "{out}");
    assert_eq!(run(&folder, &["rules", "test", "--log", "-"], "nothing\n").0, 1);
}

#[test]
fn rules_that_cannot_be_used_are_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.toml"), "[[rule]]\nname = \"a\"\npaths = [\"x\"]\naction = \"deny\"\n")
        .unwrap();
    for args in [&["rules", "check"][..], &["rules", "test", "--address", "192.0.2.1"], &["--check"]] {
        let (code, _, err) = run(&folder, args, "");
        assert!(code == 64 && err.contains("rules.toml") && err.contains("line 3") && err.contains("\"/x\""), "{err}");
    }
}
