//! The program that scenarios start: coordinator or node, as its first argument says.

use std::process::ExitCode;

fn main() -> ExitCode {
    difusor_local::multicall::dispatch().unwrap_or(ExitCode::FAILURE)
}
