//! One binary that is coordinator and node: `PROGRAM coordinator …` and `PROGRAM node …` are the real command lines.

use std::{ffi::OsString, io::Read as _, process::ExitCode};

/// Set for processes that must not outlive the one that started them.
pub const EXIT_WITH_PARENT: &str = "DIFUSOR_EXIT_WITH_PARENT";

/// Runs the coordinator or the node if the first argument names one; `None` otherwise.
pub fn dispatch() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let _program = args.next();
    let which = args.next()?;
    let run: fn(Vec<OsString>) -> ExitCode = match which.to_str()? {
        "coordinator" => |args| difusor_coordinator::cli::main(args),
        "node" => |args| difusor_node::cli::main(args),
        _ => return None,
    };
    if std::env::var_os(EXIT_WITH_PARENT).is_some() {
        std::thread::spawn(end_with_parent);
    }
    let name = OsString::from(format!("difusor-{}", which.to_string_lossy()));
    Some(run(std::iter::once(name).chain(args).collect()))
}

/// The parent holds the other end of standard input: when it is gone, however it went, so are we. Ending like this is
/// no worse than a power cut, which every process here has to survive.
fn end_with_parent() {
    let mut stdin = std::io::stdin();
    while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
    std::process::exit(1);
}
