//! `difusor-node`: see `difusor-node --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    difusor_node::cli::main(std::env::args_os())
}
