//! `loadtest`: makes the packages of a night, and what is needed to load a mesh with them.
//!
//! One file for each subcommand. Exits with 2 when what was asked for cannot be, with 1 when it failed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks on its terminal")]

mod archive;
mod attack;
mod compare;
mod congestion;
mod deltas;
mod dns;
mod flips;
mod ingest;
mod link;
mod median;
mod packages;
mod publish;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Package generator, benchmarks and load plans for a Difusor mesh.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Packages(packages::Args),
    Archive(archive::Args),
    Compare(compare::Args),
    Congestion(congestion::Args),
    Publish(publish::Args),
    Flips(flips::Args),
    Ingest(ingest::Args),
    Link(link::Args),
    Deltas(deltas::Args),
    Dns(dns::Args),
    Attack(attack::Args),
    #[command(hide = true)]
    AttackHonest(attack::honest::Args),
    #[command(hide = true)]
    AttackStrike(attack::strike::Args),
    #[command(hide = true)]
    DeltasPiece(deltas::piece::Args),
}

fn main() -> ExitCode {
    // Meshes and nodes that it starts are this program.
    if let Some(code) = difusor_local::multicall::dispatch() {
        return code;
    }
    let outcome = match Cli::parse().command {
        Command::Packages(args) => packages::run(&args),
        Command::Archive(args) => archive::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Congestion(args) => congestion::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Flips(args) => flips::run(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::Link(args) => link::run(&args),
        Command::Deltas(args) => deltas::run(&args),
        Command::Dns(args) => dns::run(&args),
        Command::Attack(args) => attack::run(&args),
        Command::AttackHonest(args) => attack::honest::run(&args),
        Command::AttackStrike(args) => attack::strike::run(&args),
        Command::DeltasPiece(args) => deltas::piece::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<difusor_night::SpecError>() { 2 } else { 1 })
        }
    }
}
