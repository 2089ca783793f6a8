//! `difusor-coordinator`: see `difusor-coordinator --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    difusor_coordinator::cli::main(std::env::args_os())
}
