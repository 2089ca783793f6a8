//! Medians of all rounds as two Markdown tables: who is ahead, and what it took.

use super::cells::{Cell, Unit};
use super::measure::Measured;
use super::servers::Name;

/// How far ahead of nginx, and of the best of all peers.
const GOAL_NGINX: f64 = 1.2;
const GOAL_BEST: f64 = 1.0;

/// A server that wants its core for less than this share of the time could do more.
const SATURATED: f64 = 0.9;

/// Other programs that have more than this share of a core spoil the figure.
pub(super) const TAKEN: f64 = 0.1;

/// Clients that want theirs for more than this share may be what is short.
const BUSY: f64 = 0.97;

/// A server that lets fewer than this share of its visitors resume is said to.
const RESUMED: f64 = 0.99;

/// More failures than this, for each answer, and a figure means nothing.
const TOLERATED: f64 = 0.001;

/// What the rounds of one server in one cell come to.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    server: Name,
    /// In the unit of the cell.
    value: f64,
    bytes_per_second: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    cpu_us: f64,
    server_wanted: f64,
    driver_wanted: f64,
    taken: f64,
    peak_rss: f64,
    /// Too many answers were wrong, or connections were not held.
    failed: bool,
    /// Of returning visitors, the share that came back with a ticket.
    resumed: Option<f64>,
}

impl Figure {
    fn new(cell: &Cell, server: Name, all: &[Measured]) -> Option<Self> {
        let rounds = || all.iter().filter(|made| made.cell == cell.name && made.server == server);
        let of = |value: fn(&Measured) -> f64| median(rounds().map(value));
        let value = match cell.unit() {
            Unit::Requests | Unit::Handshakes => of(|made| made.rate),
            Unit::Memory => median(rounds().filter_map(|made| Some(made.held.as_ref()?.each()))),
        };
        let failed = |made: &Measured| {
            made.failures as f64 > TOLERATED * made.answers as f64
                || made.held.as_ref().is_some_and(|held| held.alive < held.connections)
        };
        Some(Self {
            server,
            value: value.unwrap_or(0.0),
            bytes_per_second: of(|made| made.bytes_per_second)?,
            p50_us: median(rounds().filter_map(|made| made.p50_us)),
            p99_us: median(rounds().filter_map(|made| made.p99_us)),
            cpu_us: of(|made| made.cpu_us)?,
            server_wanted: of(|made| made.server_wanted)?,
            driver_wanted: of(|made| made.driver_wanted)?,
            taken: of(|made| made.taken)?,
            peak_rss: of(|made| made.peak_rss as f64)?,
            failed: rounds().any(failed),
            resumed: median(rounds().filter_map(|made| made.resumed)),
        })
    }

    /// Behind the value: what has to be known about it.
    fn mark(&self, unit: Unit) -> String {
        match (unit, self.resumed) {
            _ if self.failed => " !".to_owned(),
            (Unit::Memory, _) => String::new(),
            (_, Some(share)) if share < RESUMED => format!(" ({:.0} % resumed)", share * 100.0),
            _ if self.taken > TAKEN => " ~".to_owned(),
            _ if self.server_wanted < SATURATED => " *".to_owned(),
            _ if self.driver_wanted > BUSY => " °".to_owned(),
            _ => String::new(),
        }
    }
}

/// How many times better one value is than another.
fn ratio(unit: Unit, ours: f64, theirs: f64) -> Option<f64> {
    let (above, below) = if unit == Unit::Memory { (theirs, ours) } else { (ours, theirs) };
    (below > 0.0 && above > 0.0).then(|| above / below)
}

/// The table that says who is ahead.
pub(super) fn table(cells: &[Cell], servers: &[Name], all: &[Measured]) -> String {
    let columns: String = servers.iter().map(|server| format!(" {} |", server.text())).collect();
    let mut lines = vec![
        format!("| |{columns} / nginx | / best peer | goal |"),
        format!("|---|{}---|---|---|", "---|".repeat(servers.len())),
    ];
    for cell in cells {
        let figures: Vec<_> = servers.iter().filter_map(|server| Figure::new(cell, *server, all)).collect();
        if figures.is_empty() {
            continue;
        }
        let unit = cell.unit();
        let of = |server| figures.iter().find(|figure| figure.server == server);
        let columns = servers.iter().map(|server| match of(*server) {
            Some(figure) if figure.value > 0.0 => format!(" {}{} |", show(unit, figure.value), figure.mark(unit)),
            Some(_) => " failed |".to_owned(),
            None => " - |".to_owned(),
        });
        let (nginx, best) = standing(unit, &figures);
        let goal = match (nginx, best) {
            (_, None) => "-",
            (nginx, Some(best)) if best >= GOAL_BEST && nginx.is_none_or(|nginx| nginx >= GOAL_NGINX) => "met",
            _ => "**below**",
        };
        let times = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let columns: String = columns.collect();
        lines.push(format!("| {}, {} |{columns} {} | {} | {goal} |", cell.name, name(unit), times(nginx), times(best)));
    }
    lines.push(String::new());
    lines.push(format!(
        "Goal: at least {GOAL_NGINX} times nginx and {GOAL_BEST} times the best peer. * the server left more than \
         {:.0} % of its core unused, so it could do more; ° the clients had hardly any of theirs left, so perhaps it \
         could; ~ other programs had more than {:.0} % of a core; ! answers were wrong or connections were \
         lost.",
        100.0 * (1.0 - SATURATED),
        100.0 * TAKEN,
    ));
    lines.join("\n")
}

/// How this system stands to nginx, and to the best of all peers.
fn standing(unit: Unit, figures: &[Figure]) -> (Option<f64>, Option<f64>) {
    let Some(ours) = figures.iter().find(|figure| figure.server == Name::Difusor && !figure.failed) else {
        return (None, None);
    };
    let peers = figures.iter().filter(|figure| figure.server != Name::Difusor && !figure.failed);
    let ratios: Vec<_> = peers.filter_map(|peer| Some((peer.server, ratio(unit, ours.value, peer.value)?))).collect();
    let nginx = ratios.iter().find(|(server, _)| *server == Name::Nginx).map(|(_, ratio)| *ratio);
    (nginx, ratios.iter().map(|(_, ratio)| *ratio).min_by(f64::total_cmp))
}

/// The table that says what it took.
pub(super) fn details(cells: &[Cell], servers: &[Name], all: &[Measured]) -> String {
    let mut lines = vec![
        "| | server | MB/s | p50 ms | p99 ms | CPU µs each | server core | client core | peak MB |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for cell in cells {
        for figure in servers.iter().filter_map(|server| Figure::new(cell, *server, all)) {
            let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time / 1e3));
            lines.push(format!(
                "| {} | {} | {:.1} | {} | {} | {:.1} | {:.0} % | {:.0} % | {:.1} |",
                cell.name,
                figure.server.text(),
                figure.bytes_per_second / 1e6,
                ms(figure.p50_us),
                ms(figure.p99_us),
                figure.cpu_us,
                100.0 * figure.server_wanted,
                100.0 * figure.driver_wanted,
                figure.peak_rss / 1e6,
            ));
        }
    }
    lines.join("\n")
}

fn name(unit: Unit) -> &'static str {
    match unit {
        Unit::Requests => "requests/s",
        Unit::Handshakes => "handshakes/s",
        Unit::Memory => "kB each",
    }
}

fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Memory => format!("{:.1}", value / 1e3),
        _ if value < 1_000.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// `94142.4` as `94,142`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::super::cells::chosen;
    use super::super::idle::Held;
    use super::*;

    const ALL: [Name; 3] = [Name::Difusor, Name::Nginx, Name::H2o];

    fn made(cell: &'static str, server: Name, rate: f64) -> Measured {
        Measured {
            cell,
            server,
            round: 0,
            rate,
            bytes_per_second: rate * 100.0,
            p50_us: Some(100.0),
            p99_us: Some(1_250.0),
            cpu_us: 10.0,
            instructions: None,
            server_ran: 0.95,
            server_wanted: 0.99,
            driver_ran: 0.5,
            driver_wanted: 0.5,
            taken: 0.04,
            rss: 1,
            peak_rss: 9_000_000,
            answers: 1000,
            failures: 0,
            failure: None,
            resumed: None,
            held: None,
        }
    }

    fn row(cell: &str, all: &[Measured]) -> String {
        let cells = chosen(&[cell.to_owned()]).unwrap();
        table(&cells, &ALL, all).lines().nth(2).unwrap().to_owned()
    }

    #[test]
    fn medians_and_ratios() {
        let rate = |server, rate| made("h1-10k", server, rate);
        let ours = [50.0, 130_000.0, 120_000.0].map(|value| rate(Name::Difusor, value));
        let all = [&ours[..], &[rate(Name::Nginx, 80_000.0), rate(Name::H2o, 100_000.0)]].concat();
        assert_eq!(row("h1-10k", &all), "| h1-10k, requests/s | 120,000 | 80,000 | 100,000 | 1.50 | 1.20 | met |");
        let all = [&all[..4], &[rate(Name::H2o, 240_000.0)]].concat();
        assert!(row("h1-10k", &all).ends_with("| 240,000 | 1.50 | 0.50 | **below** |"));
        let alone = [rate(Name::Difusor, 7.25)];
        assert_eq!(row("h1-10k", &alone), "| h1-10k, requests/s | 7.2 | - | - | - | - | - |");
        assert!(!table(&chosen(&["h1".to_owned()]).unwrap(), &ALL, &alone).contains("h1-20m"));
    }

    #[test]
    fn less_memory_is_better() {
        let held = |server, with| Measured {
            held: Some(Held { connections: 10, alive: 10, before: 1_000, with }),
            ..made("idle-h1", server, 400.0)
        };
        let all = [held(Name::Difusor, 101_000), held(Name::Nginx, 201_000)];
        assert_eq!(row("idle-h1", &all), "| idle-h1, kB each | 10.0 | 20.0 | - | 2.00 | 2.00 | met |");
        let mut lost = all.clone();
        lost[0].held = Some(Held { connections: 10, alive: 9, before: 1_000, with: 101_000 });
        assert!(row("idle-h1", &lost).contains("| 10.0 ! | 20.0 | - | - | - | - |"));
    }

    #[test]
    fn what_could_not_be_measured_is_said() {
        let [load, idle] = ["h1-10k", "idle-h1"].map(|name| chosen(&[name.to_owned()]).unwrap());
        let error = anyhow::anyhow!("refused");
        let all = [load, idle].map(|cells| Measured::failed(&cells[0], Name::Nginx, 0, &error));
        assert_eq!(row("h1-10k", &all), "| h1-10k, requests/s | - | failed | - | - | - | - |");
        assert_eq!(row("idle-h1", &all), "| idle-h1, kB each | - | failed | - | - | - | - |");
    }

    #[test]
    fn what_a_figure_does_not_say_is_marked() {
        let slack = Measured { server_wanted: 0.6, ..made("h2-10k", Name::Difusor, 5_000.0) };
        let bound = Measured { driver_wanted: 0.99, ..made("h2-10k", Name::Nginx, 5_000.0) };
        let wrong = Measured { failures: 2, ..made("h2-10k", Name::H2o, 90_000.0) };
        let all = [slack, bound, wrong];
        assert_eq!(
            row("h2-10k", &all),
            "| h2-10k, requests/s | 5,000 * | 5,000 ° | 90,000 ! | 1.00 | 1.00 | **below** |"
        );
        let taken = Measured { taken: 0.2, ..made("h2-10k", Name::H2o, 5_000.0) };
        assert!(row("h2-10k", &[taken]).contains("| 5,000 ~ |"));
        let partly = Measured { resumed: Some(0.667), ..made("tls-resumed", Name::H2o, 5_000.0) };
        assert!(row("tls-resumed", &[partly]).contains("| 5,000 (67 % resumed) |"));
        let dead = Measured { failures: 100, answers: 0, ..made("h2-10k", Name::H2o, 0.0) };
        assert!(row("h2-10k", &[dead]).contains("| - | - | failed | - | - | - |"));
        let details = details(&chosen(&["h2-10k".to_owned()]).unwrap(), &ALL, &all);
        assert!(details.contains("| h2-10k | difusor | 0.5 | 0.10 | 1.25 | 10.0 | 60 % | 50 % | 9.0 |"), "{details}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7.0, 1_000.0, 94_142.4, 1_234_567.0].map(thousands), ["7", "1,000", "94,142", "1,234,567"]);
    }
}
