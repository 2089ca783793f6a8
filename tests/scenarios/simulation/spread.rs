//! How much a publication costs the coordinator, in meshes of up to a thousand nodes.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration};

use difusor_coordinator::rollout::{Policy, When};

use crate::{
    MEMORY,
    coordinator::Coordinator,
    world::{Plan, SECOND, World},
};

/// Cuts of each night: as many as the console shows, so that the memory is what it comes to.
const CUTS: u64 = 24;

/// What one night costs, for each cut.
#[derive(Debug, Clone, Copy)]
struct Cost {
    nodes: usize,
    /// Copies that left the coordinator.
    copies: f64,
    /// Words that it said on control streams.
    words: f64,
    /// Words of what nodes said that came back to it.
    answers: f64,
    /// From the package to the last node that has staged it, seconds.
    spread: f64,
    /// Of the coordinator: its rollout, its sessions, and what it shows, bytes.
    memory: f64,
}

fn night(zones: usize, per_zone: usize) -> Cost {
    let policy = Policy { when: When::All, deadline: Duration::from_secs(60), lead: Duration::from_millis(100) };
    let plan = Plan {
        zones,
        per_zone,
        policy,
        visitors: 0,
        has_swim: false,
        has_bytes: false,
        every: 10 * SECOND,
        cuts: CUTS,
    };
    let nodes = plan.nodes();
    let mut world = World::new(plan, 7);
    let mut spread = 0.0_f64;
    for cut in 1..=CUTS {
        world.run(if cut == 1 { 3 } else { 5 });
        while world.coordinator.published < cut {
            world.step_ms(100);
        }
        let mut took = 0_u32;
        while world.nodes.iter().any(|node| !node.holds.contains(&cut)) {
            world.step_ms(100);
            took += 100;
            assert!(took < 60_000, "{} nodes lack cut {cut}", nodes);
        }
        spread = spread.max(f64::from(took) / 1e3);
        // To the flip, and what is said of it.
        world.run(1);
    }
    let copies: u32 = world.coordinator.copies.values().sum();
    let each = |total: u64| total as f64 / CUTS as f64;
    let (copies, words) = (each(copies.into()), each(world.coordinator.words));
    let answers = each(world.coordinator.heard);
    let with = MEMORY.allocated();
    world.coordinator = Coordinator::new(&world.plan);
    let memory = with.saturating_sub(MEMORY.allocated()) as f64;
    Cost { nodes, copies, words, answers, spread, memory }
}

/// In a process of its own: other tests that run beside it have memory, too.
#[test]
fn a_thousand_nodes_cost_no_more_copies_than_zones() {
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let done = alone.args(["--exact", "--ignored", "--nocapture", "spread::a_thousand_nodes_alone"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

/// Twenty zones of up to fifty nodes: one copy to each zone however many nodes it has, a few words to each node, and some
/// kilobytes.
#[test]
#[ignore = "the test before it runs it"]
fn a_thousand_nodes_alone() {
    let costs: Vec<_> = [1, 2, 5, 10, 20, 35, 50].map(|size| night(20, size)).into();
    println!("nodes  copies  words  answers  spread s  kB");
    for cost in &costs {
        let Cost { nodes, copies, words, answers, spread, memory } = cost;
        println!("{nodes:5}  {copies:6.1}  {words:5.0}  {answers:7.0}  {spread:8.1}  {:6.0}", memory / 1e3);
        assert!((copies - 20.0).abs() < 0.01, "{cost:?}");
        assert!(*words <= 4.0 * *nodes as f64, "{cost:?}");
        assert!(*answers <= 2.0 * *nodes as f64, "{cost:?}");
        assert!(*memory <= 32e3 * *nodes as f64, "{cost:?}");
    }
    if let Some(file) = std::env::var_os("DIFUSOR_SPREAD") {
        fs::write(PathBuf::from(file), drawn(&costs)).unwrap();
    }
}

/// A thousand nodes that know of each other: how long after a death, of a node and of a zone, the last of some of the others
/// answers with it. Takes minutes: `cargo test --release -p difusor-tests --test simulation -- --ignored --nocapture deaths`.
#[test]
#[ignore = "takes minutes"]
fn deaths_among_a_thousand_are_known_soon() {
    let policy = Policy { when: When::All, deadline: Duration::from_secs(60), lead: Duration::from_millis(100) };
    let plan = Plan {
        zones: 20,
        per_zone: 50,
        policy,
        visitors: 0,
        has_swim: true,
        has_bytes: false,
        every: 3_600 * SECOND,
        cuts: 0,
    };
    let mut world = World::new(plan, 7);
    let mut seconds = 0;
    while world.nodes.iter().step_by(19).any(|node| node.view.alive.len() < 999) {
        world.run(1);
        seconds += 1;
        assert!(
            seconds < 300,
            "{:?}",
            world.nodes.iter().step_by(19).map(|node| node.view.alive.len()).collect::<Vec<_>>()
        );
    }
    println!("all know of all after {seconds} s");
    let mut gone = |what: &str, dead: std::ops::Range<usize>| {
        let packets = world.packets;
        dead.clone().for_each(|at| world.kill(at));
        let mut took = 0_u32;
        let knows = |world: &World| {
            let others = world.nodes.iter().filter(|node| node.is_up).step_by(19);
            others
                .flat_map(|node| dead.clone().map(|at| node.view.alive.contains(&crate::node::name(at))))
                .all(|is| !is)
        };
        while !knows(&world) {
            world.step_ms(100);
            took += 100;
            assert!(took < 60_000, "{what}");
        }
        let sent = (world.packets - packets) as f64 / f64::from(took) * 1e3 / 1e3;
        println!("{what}: {:.1} s, {sent:.0} packets a second for each node", f64::from(took) / 1e3);
        took
    };
    let times = [gone("a node dies", 500..501), gone("a zone dies", 250..300)];
    assert!(times.iter().all(|took| *took <= 10_000), "{times:?}");
}

/// The curves, each in a frame of its own.
fn drawn(costs: &[Cost]) -> String {
    let mut svg = String::from(concat!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1200 250\" font-family=\"sans-serif\" font-size=\"12\">",
        "<rect width=\"1200\" height=\"250\" fill=\"#fff\"/>"
    ));
    type Of = fn(&Cost) -> f64;
    let curves: [(&str, Of); 5] = [
        ("copies from the coordinator, a cut", |cost| cost.copies),
        ("words on control streams, a cut", |cost| cost.words),
        ("words that come back, a cut", |cost| cost.answers),
        ("seconds until all have staged", |cost| cost.spread),
        ("memory of the coordinator, MB", |cost| cost.memory / 1e6),
    ];
    for (at, (title, of)) in curves.into_iter().enumerate() {
        let (left, width, top, height) = (at as f64 * 240.0 + 40.0, 180.0, 40.0, 160.0);
        let most = costs.iter().map(of).fold(0.0, f64::max) * 1.1;
        let last = costs.iter().map(|cost| cost.nodes).max().unwrap_or(1) as f64;
        let place = |cost: &Cost| (left + cost.nodes as f64 / last * width, top + height - of(cost) / most * height);
        let points: Vec<_> = costs.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let bottom = top + height;
        write!(
            svg,
            "<text x=\"{left}\" y=\"24\">{title}</text>\
             <path d=\"M{left} {top}V{bottom}H{}\" fill=\"none\" stroke=\"#999\"/>\
             <polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>",
            left + width,
            points.join(" ")
        )
        .unwrap();
        for cost in [costs.first(), costs.last()].into_iter().flatten() {
            let (x, y) = place(cost);
            write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#06c\"/><text x=\"{:.1}\" y=\"{:.1}\">{:.1}</text>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                x - 14.0,
                y - 8.0,
                of(cost),
                x - 10.0,
                bottom + 18.0,
                cost.nodes
            )
            .unwrap();
        }
    }
    svg.push_str("</svg>\n");
    svg
}
