//! `loadtest congestion`: what each congestion controller makes of long and lossy paths.
//!
//! Every cell of the table is a push from a coordinator to one node, with the mesh's own TLS and transport parameters,
//! over an emulated link of its own. Controllers take turns on the same losses, so that the machine's moods fall on
//! all of them.

pub(crate) mod push;

use std::time::Duration;

use anyhow::Context as _;
use difusor_link::LinkSpec;
use difusor_proto::tls::Congestion;

use push::{Ends, Outcome, Plan};

/// Measure QUIC congestion controllers over an emulated wide-area link
///
/// Prints a Markdown table; each cell is the round with the median rate. A transfer that reaches the time cap counts
/// with what had arrived by then.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Bottleneck of the link, Mbit/s
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    mbit: u64,
    /// Round trips, milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [30, 80, 150, 200], value_name = "MS,...")]
    rtt: Vec<u32>,
    /// Random loss in each direction, per cent
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 1.0], value_name = "PERCENT,...", value_parser = percent)]
    loss: Vec<f64>,
    /// Controllers: bbr, cubic, newreno
    #[arg(long, value_delimiter = ',', default_values = ["bbr", "cubic", "newreno"], value_name = "NAME,...")]
    controllers: Vec<Congestion>,
    /// Megabytes to push
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    megabytes: u64,
    /// Queue in front of the bottleneck, bytes; one bandwidth-delay product if not given
    #[arg(long, value_name = "BYTES")]
    queue: Option<u64>,
    /// Rounds; each has losses of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// Longest time one transfer may take, seconds
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    cap: u64,
    /// Push twice on each connection and measure the second, as cuts after the first find it
    #[arg(long)]
    warm: bool,
    /// Chooses which datagrams are lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one cell of the table is measured under.
#[derive(Clone, Copy)]
struct Case {
    rtt: u32,
    loss: f64,
    controller: Congestion,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let ends = Ends::new()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut cells: Vec<(Case, Vec<Outcome>)> = cases(args).into_iter().map(|case| (case, Vec::new())).collect();
    let total = cells.len() as u64 * args.rounds;
    let mut done = 0;
    for round in 0..args.rounds {
        for (case, outcomes) in &mut cells {
            let plan = plan(args, case, round);
            let name = name(case.controller);
            let outcome = runtime
                .block_on(push::push(&ends, case.controller, &plan))
                .with_context(|| format!("{name} over {} ms with {} % loss", case.rtt, case.loss))?;
            done += 1;
            let (rate, seconds) = (outcome.mbit(), outcome.took.as_secs_f64());
            eprintln!("{done}/{total} {name}, {} ms, {} %: {rate:.1} Mbit/s in {seconds:.1} s", case.rtt, case.loss);
            outcomes.push(outcome);
        }
    }
    println!("{}", table(args, &cells));
    Ok(())
}

fn cases(args: &Args) -> Vec<Case> {
    let mut cases = Vec::new();
    for &rtt in &args.rtt {
        for &loss in &args.loss {
            cases.extend(args.controllers.iter().map(|&controller| Case { rtt, loss, controller }));
        }
    }
    cases
}

fn plan(args: &Args, case: &Case, round: u64) -> Plan {
    let wan = LinkSpec::wan(args.mbit * 1_000_000, Duration::from_millis(case.rtt.into()), case.loss / 100.0);
    Plan {
        link: LinkSpec { queue: args.queue, seed: args.seed.wrapping_add(round), ..wan },
        bytes: args.megabytes * 1_000_000,
        cap: Duration::from_secs(args.cap),
        warm: args.warm,
    }
}

fn table(args: &Args, cells: &[(Case, Vec<Outcome>)]) -> String {
    let mut lines = vec![
        format!(
            "{} MB at {} Mbit/s, median of {} round(s){}; resent: share of packets that the sender held for lost; \
             queue: share that the queue dropped",
            args.megabytes,
            args.mbit,
            args.rounds,
            if args.warm { ", second push on a connection" } else { "" }
        ),
        String::new(),
        args.controllers.iter().fold("| RTT | loss |".to_owned(), |line, controller| {
            line + &format!(" {0} Mbit/s | {0} s | {0} resent | {0} queue |", name(*controller))
        }),
        "|---|---|".to_owned() + &"---|---|---|---|".repeat(args.controllers.len()),
    ];
    for row in cells.chunks(args.controllers.len().max(1)) {
        let Some((first, _)) = row.first() else { continue };
        let columns = row.iter().map(|(_, outcomes)| columns(outcomes));
        lines.push(columns.fold(format!("| {} ms | {} % |", first.rtt, first.loss), |line, cell| line + &cell));
    }
    lines.join("\n")
}

fn columns(outcomes: &[Outcome]) -> String {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| a.mbit().total_cmp(&b.mbit()));
    let Some(median) = sorted.get(sorted.len() / 2) else { return " | | | |".to_owned() };
    let (capped, seconds) = (if median.complete { "" } else { "> " }, median.took.as_secs_f64());
    let (resent, dropped) = (100.0 * median.resent, 100.0 * median.dropped);
    format!(" {:.1} | {capped}{seconds:.1} | {resent:.1} % | {dropped:.1} % |", median.mbit())
}

fn name(controller: Congestion) -> &'static str {
    match controller {
        Congestion::Bbr => "bbr",
        Congestion::Cubic => "cubic",
        Congestion::NewReno => "newreno",
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    parsed.ok_or_else(|| "expected a percentage from 0 to 100".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn outcome(millis: u64, complete: bool) -> Outcome {
        let took = Duration::from_millis(millis);
        Outcome { received: 1_000_000, took, complete, resent: 0.025, dropped: 0.0 }
    }

    #[test]
    fn the_whole_plan_by_default() {
        let args = Line::parse_from(["congestion"]).args;
        let cases = cases(&args);
        assert_eq!(cases.len(), 36);
        let plan = plan(&args, &cases[35], 2);
        assert_eq!((plan.link.rate, plan.link.delay), (Some(50_000_000), Duration::from_millis(100)));
        assert_eq!((plan.link.loss, plan.link.seed, plan.bytes), (0.01, 3, 8_000_000));
        assert!(Line::try_parse_from(["congestion", "--loss", "101"]).is_err());
        assert!(Line::try_parse_from(["congestion", "--controllers", "vegas"]).is_err());
    }

    #[test]
    fn the_median_round_is_shown() {
        let outcomes = [outcome(1_000, true), outcome(8_000, false), outcome(4_000, true)];
        assert_eq!(columns(&outcomes), " 2.0 | 4.0 | 2.5 % | 0.0 % |");
        assert_eq!(columns(&outcomes[1..2]), " 1.0 | > 8.0 | 2.5 % | 0.0 % |");
    }

    #[test]
    fn a_row_for_each_path() {
        let args = Line::parse_from(["congestion", "--rtt", "30", "--loss", "0,1", "--controllers", "bbr,cubic"]).args;
        let cells: Vec<_> = cases(&args).into_iter().map(|case| (case, vec![outcome(1_000, true)])).collect();
        let table = table(&args, &cells);
        let cell = " 8.0 | 1.0 | 2.5 % | 0.0 % |";
        assert!(table.ends_with(&format!("| 30 ms | 0 % |{cell}{cell}\n| 30 ms | 1 % |{cell}{cell}")), "{table}");
    }

    #[test]
    fn a_push_arrives_or_stops_at_the_cap() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ends = Ends::new().unwrap();
        let link = LinkSpec::wan(20_000_000, Duration::from_millis(10), 0.0);
        let plan = Plan { link, bytes: 200_000, cap: Duration::from_secs(20), warm: true };
        let all = runtime.block_on(push::push(&ends, Congestion::Cubic, &plan)).unwrap();
        assert!(all.complete && all.received == 200_000, "{all:?}");
        let plan = Plan { bytes: 20_000_000, cap: Duration::from_millis(300), warm: false, ..plan };
        let part = runtime.block_on(push::push(&ends, Congestion::Bbr, &plan)).unwrap();
        assert!(!part.complete && part.received < 20_000_000, "{part:?}");
        assert!(part.took >= Duration::from_millis(300) && part.took < Duration::from_secs(5), "{part:?}");
    }
}
