//! One measurement: one cell, one server, one round.

use std::path::Path;

use serde::Serialize;

use super::cells::{Cell, Kind, Load};
use super::check::Offers;
use super::files::Asset;
use super::idle::Held;
use super::servers::{Name, Server};
use super::tally::Counted;
use super::window::{Spent, Window};
use super::{drive, handshakes, idle, known};

/// How measurements are made.
pub(super) struct Method<'a> {
    pub(super) window: Window<'a>,
    /// Connections of the cells that hold them.
    pub(super) idle: usize,
    /// Use wrk and h2load, in this folder, where they can do the cell.
    pub(super) known: Option<&'a Path>,
}

/// What came of one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    pub(super) cell: &'static str,
    pub(super) server: Name,
    pub(super) round: u32,
    /// Answers, or connections, per second.
    pub(super) rate: f64,
    /// Bytes of bodies per second.
    pub(super) bytes_per_second: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Of the server, for each answer.
    pub(super) cpu_us: f64,
    /// Of the server, for each answer, if they are counted.
    pub(super) instructions: Option<f64>,
    /// Shares of the time in which the server, and the clients, had their core; and in which they had something to do.
    pub(super) server_ran: f64,
    pub(super) server_wanted: f64,
    pub(super) driver_ran: f64,
    pub(super) driver_wanted: f64,
    /// Share of either core that other programs had while it was wanted.
    pub(super) taken: f64,
    /// Resident memory of the server at the end, and at its highest meanwhile, bytes.
    pub(super) rss: u64,
    pub(super) peak_rss: u64,
    pub(super) answers: u64,
    pub(super) failures: u64,
    pub(super) failure: Option<String>,
    /// Of returning visitors, the share that came back with a ticket.
    pub(super) resumed: Option<f64>,
    pub(super) held: Option<Held>,
}

/// Makes one. Connections that are held are held by a server that was started anew.
pub(super) async fn measure(
    cell: &Cell,
    server: &mut Server,
    offers: &Offers,
    method: &Method<'_>,
    round: u32,
) -> anyhow::Result<Measured> {
    let window = &method.window;
    let page = |server: &Server| offers.exchange(server, Asset::Page, false);
    let about = (cell.name, server.name, round);
    Ok(match cell.kind {
        Kind::Load(load) => {
            let Load { protocol, asset, storm, .. } = load;
            let exchange = offers.exchange(server, asset, storm)?;
            let (counted, spent) = match method.known.filter(|_| known::program(protocol).is_some()) {
                Some(dir) => known::run(server, &load, &exchange, window, dir).await?,
                None => drive::run(server, &load, &exchange, window).await?,
            };
            measured(about, exchange.body, counted, &spent)
        }
        Kind::Handshakes(tickets) => {
            let (counted, spent, resumed) = handshakes::run(server, tickets, &page(server)?, window).await?;
            Measured { resumed, ..measured(about, 0, counted, &spent) }
        }
        Kind::Idle(protocol) => {
            server.restart().await?;
            let (counted, spent, held) = idle::run(server, protocol, &page(server)?, method.idle, window).await?;
            Measured { held: Some(held), ..measured(about, 0, counted, &spent) }
        }
    })
}

/// `body` is the size of an answer if the rate is to be told from the bytes, as it is more exactly for large files;
/// 0 if the answers themselves are to be counted.
fn measured((cell, server, round): (&'static str, Name, u32), body: u64, counted: Counted, spent: &Spent) -> Measured {
    let elapsed = spent.elapsed.as_secs_f64().max(1e-9);
    let answers = if body > 0 { counted.bytes as f64 / body as f64 } else { counted.answers as f64 };
    // Threads that wait for each other can want more than a core.
    let share = |time: std::time::Duration| (time.as_secs_f64() / elapsed).min(1.0);
    let micros = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64() * 1e6);
    let (server_ran, server_wanted) = (share(spent.server.cpu), share(spent.server.cpu + spent.server.waited));
    let driver_wanted =
        spent.idle.map_or_else(|| share(spent.driver.cpu + spent.driver.waited), |idle| 1.0 - share(idle));
    // Clients that have time to spare catch up.
    let missed = share(spent.driver.waited) - (1.0 - driver_wanted);
    Measured {
        cell,
        server,
        round,
        rate: answers / elapsed,
        bytes_per_second: counted.bytes as f64 / elapsed,
        p50_us: micros(counted.p50),
        p99_us: micros(counted.p99),
        cpu_us: if answers > 0.0 { spent.server.cpu.as_secs_f64() * 1e6 / answers } else { 0.0 },
        instructions: spent.instructions.map(|count| count / answers.max(1.0)),
        server_ran,
        server_wanted,
        driver_ran: share(spent.driver.cpu),
        driver_wanted,
        taken: (server_wanted - server_ran).max(missed).max(0.0),
        rss: spent.memory.now,
        peak_rss: spent.memory.peak,
        answers: counted.answers,
        failures: counted.failures,
        failure: counted.failure,
        resumed: None,
        held: None,
    }
}

impl Measured {
    /// One that could not be made.
    pub(super) fn failed(cell: &Cell, server: Name, round: u32, error: &anyhow::Error) -> Self {
        let counted = Counted { failures: 1, failure: Some(format!("{error:#}")), ..Counted::default() };
        measured((cell.name, server, round), 0, counted, &Spent::default())
    }

    /// One line about it.
    pub(super) fn line(&self) -> String {
        let micros = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
        let mut line = format!(
            "{:.0}/s, {:.1} MB/s, p50 {} µs, p99 {} µs, {:.1} µs CPU each; server {:.0} % of its core (wanted {:.0}), \
             clients {:.0} % (wanted {:.0}), {:.1} MB",
            self.rate,
            self.bytes_per_second / 1e6,
            micros(self.p50_us),
            micros(self.p99_us),
            self.cpu_us,
            self.server_ran * 100.0,
            self.server_wanted * 100.0,
            self.driver_ran * 100.0,
            self.driver_wanted * 100.0,
            self.peak_rss as f64 / 1e6,
        );
        if let Some(instructions) = self.instructions {
            line += &format!("; {instructions:.0} instructions each");
        }
        if let Some(resumed) = self.resumed {
            line += &format!("; {:.0} % came back with a ticket", resumed * 100.0);
        }
        if let Some(held) = &self.held {
            let (each, alive) = (held.each() / 1e3, held.alive);
            line += &format!("; {each:.1} kB for each of {} connections, {alive} alive at the end", held.connections);
        }
        if let Some(failure) = &self.failure {
            line += &format!("; {} failures: {failure}", self.failures);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::usage::{Memory, Times};

    #[test]
    fn rates_of_large_files_come_from_their_bytes() {
        let times = |cpu, waited| Times { cpu: Duration::from_millis(cpu), waited: Duration::from_millis(waited) };
        let spent = Spent {
            elapsed: Duration::from_secs(2),
            server: times(1_600, 300),
            driver: times(1_000, 0),
            idle: None,
            memory: Memory { now: 5, peak: 9 },
            instructions: Some(375.0),
        };
        let counted = Counted { answers: 3, bytes: 500, ..Counted::default() };
        let made = measured(("x", Name::H2o, 1), 100, counted.clone(), &spent);
        assert_eq!((made.rate, made.bytes_per_second, made.cpu_us), (2.5, 250.0, 320_000.0));
        assert_eq!((made.server_ran, made.server_wanted, made.driver_wanted), (0.8, 0.95, 0.5));
        assert_eq!(measured(("x", Name::H2o, 1), 0, counted, &spent).rate, 1.5);
        assert_eq!(made.instructions, Some(75.0));
        assert!((made.taken - 0.15).abs() < 1e-9);
        assert!(made.line().contains("server 80 % of its core (wanted 95)"));
    }
}
