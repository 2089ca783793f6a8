//! The metrics as text (OpenMetrics 1.0): their names, their meaning, and nothing else.
//!
//! Times are given as seconds since 1970, which a scraper compares with its own clock; an age is given where this
//! machine's clock is the one that counts. Series of labels that are known are there from the start, so that the first
//! event shows as an increase.

mod admission;
mod kernel;
mod rules;
mod verdict;
mod zone;

use std::{
    fmt::{self, Debug},
    fs,
    iter::zip,
    sync::Arc,
    time::SystemTime,
};

use difusor_proto::process;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{
    Failure, Handshake, Protocol, Snapshot, Totals,
    tally::{BOUNDS, CODE_NAMES},
    unix,
};
use crate::{
    admission::{budgets::Budget, overload::Rank},
    insight::report::Report,
};

/// All that is known at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) totals: Totals,
    pub(super) found: Arc<Report>,
    pub(super) snapshot: Snapshot,
    pub(super) dropped: u64,
    pub(super) started: SystemTime,
    pub(super) now: SystemTime,
}

pub(super) fn text(scrape: Scrape) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(scrape));
    // Only the writer could fail, and a string does not.
    let _ = encode(&mut text, &registry);
    text
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.requests(&mut page)?;
        self.rules(&mut page)?;
        self.admission(&mut page)?;
        self.connections(&mut page)?;
        self.cut(&mut page)?;
        self.disk(&mut page)?;
        kernel::write(&mut page, self.snapshot.kernel)?;
        self.mesh(&mut page)?;
        zone::write(&mut page, self.snapshot.zone.as_ref())?;
        verdict::encode(&mut page, &self.found)?;
        process(&mut page, self.started)
    }
}

impl Scrape {
    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = &self.totals;
        let answers = zip(Protocol::ALL, &totals.requests).flat_map(|(protocol, codes)| {
            zip(CODE_NAMES, codes).map(move |(code, n)| ([("protocol", protocol.name()), ("code", code)], *n))
        });
        page.counters(
            "difusor_http_requests",
            "Requests answered, by status; the statuses that have no counter of their own by class",
            answers,
        )?;
        page.counter(
            "difusor_http_body",
            Some(Unit::Bytes),
            "Bytes of bodies handed to connections",
            totals.body_bytes,
        )?;
        page.histogram(
            "difusor_http_head",
            Unit::Seconds,
            "From a request that is read to the head of its answer, of a sample of the requests",
            totals,
        )?;
        page.counters(
            "difusor_requests_limited",
            "Requests answered 429 because their source, or its network, had spent this budget",
            zip(Budget::OF_REQUESTS, totals.limited).map(|(budget, n)| ([("budget", budget.name())], n)),
        )?;
        page.counters(
            "difusor_requests_shed",
            "Files that were not given, 503, for all there was to do",
            zip(Rank::GIVEN_UP, totals.gave_up).map(|(rank, n)| ([("class", rank.name())], n)),
        )?;
        let dropped = "Records of requests that the access log had no room for, or could not write";
        page.counter("difusor_access_log_dropped", None, dropped, self.dropped)
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = &self.totals;
        let of_kind = |kind| [("kind", kind)];
        let of_reason = |reason| [("reason", reason)];
        page.gauge("difusor_connections_open", None, "Connections open now", totals.open())?;
        page.counter("difusor_connections", None, "Connections accepted", totals.opened)?;
        page.counters(
            "difusor_connections_ended",
            "Connections that this side ended: no room for them, idle for too long, work without a purpose",
            [
                (of_reason("refused"), totals.refused),
                (of_reason("crowded"), totals.crowded),
                (of_reason("hasty"), totals.hasty),
                (of_reason("banned"), totals.banned),
                (of_reason("cut_off"), totals.cut_off),
                (of_reason("abusive"), totals.abusive),
            ],
        )?;
        page.counters(
            "difusor_tls_handshakes",
            "TLS handshakes, by what they cost: a signature, or none as the client had a ticket",
            zip(Handshake::ALL, totals.handshakes).map(|(kind, n)| (of_kind(kind.name()), n)),
        )?;
        page.counters(
            "difusor_handshake_failures",
            "Connections that ended before they could carry a request",
            zip(Failure::ALL, totals.failures).map(|(failure, n)| (of_reason(failure.name()), n)),
        )?;
        page.counters(
            "difusor_http3_events",
            "What happened over HTTP/3, which the other counters of connections and handshakes do not have",
            self.snapshot.http3.iter().map(|(event, n)| ([("event", *event)], *n)),
        )?;
        let Some(expires) = self.snapshot.certificate_expires else { return Ok(()) };
        let help = "When the public certificate expires, since 1970";
        page.gauge("difusor_certificate_expiry", Some(Unit::Seconds), help, unix(expires))
    }

    fn cut(&self, page: &mut Page<'_>) -> fmt::Result {
        let Snapshot { cut, flips, flipped, connected, refused, .. } = &self.snapshot;
        if let Some(cut) = cut {
            let labels = [("label", cut.label.to_string()), ("seq", cut.seq.to_string())];
            page.info("difusor_cut", "The cut that is served", &labels)?;
        }
        page.counter("difusor_cut_flips", None, "Times that another cut was served from", *flips)?;
        if let Some(flipped) = flipped {
            let age = self.now.duration_since(*flipped).unwrap_or_default();
            page.gauge("difusor_cut_age", Some(Unit::Seconds), "Since the last flip", age.as_secs_f64())?;
        }
        page.gauge(
            "difusor_coordinator_connected",
            None,
            "1 while in touch with the coordinator",
            u32::from(*connected),
        )?;
        page.counters(
            "difusor_coordinator_refused",
            "What came from the coordinator and was refused",
            refused.iter().map(|(reason, n)| ([("reason", reason.as_str())], *n)),
        )
    }
}

impl Scrape {
    fn disk(&self, page: &mut Page<'_>) -> fmt::Result {
        let Snapshot { scrub, wanted, withheld, .. } = &self.snapshot;
        let read = "Bytes of packs that were read again and compared with their checks";
        page.counter("difusor_scrub_read", Some(Unit::Bytes), read, scrub.bytes)?;
        page.counter("difusor_scrub_passes", None, "Times that every pack was read again", scrub.passes)?;
        if let Some(ms) = scrub.last_pass_ms {
            let help = "When every pack had been read again last, since 1970";
            page.gauge("difusor_scrub_last_pass", Some(Unit::Seconds), help, ms as f64 / 1e3)?;
        }
        page.counter("difusor_scrub_damaged", None, "Records that the disk had spoiled", scrub.found)?;
        page.counter("difusor_scrub_healed", None, "Records of those that were made whole again", scrub.healed)?;
        let help = "Files and manifests that the coordinator has to be asked for";
        page.gauge("difusor_scrub_wanted", None, help, *wanted)?;
        page.gauge("difusor_scrub_withheld", None, "Files that are not given to visitors until then", *withheld)?;
        if scrub.disk.total == 0 {
            return Ok(());
        }
        page.gauge("difusor_disk_free", Some(Unit::Bytes), "Room on the disk of the store", scrub.disk.free)?;
        page.gauge("difusor_disk_size", Some(Unit::Bytes), "Size of that disk", scrub.disk.total)?;
        let help = "1 while there is less room than `low_space`";
        page.gauge("difusor_disk_low", None, help, u32::from(scrub.low_space))
    }

    /// The node among the others.
    fn mesh(&self, page: &mut Page<'_>) -> fmt::Result {
        let Snapshot { dns, unlike, health, peers, relayed, clock_us, .. } = &self.snapshot;
        page.counters(
            "difusor_dns_queries",
            "Queries of DNS, by what became of them",
            dns.iter().map(|(outcome, n)| ([("outcome", *outcome)], *n)),
        )?;
        if let Some(unlike) = unlike {
            let help = "Other nodes whose answers resolvers would take for forged: they sign with other keys, or not";
            page.gauge("difusor_dnssec_unlike", None, help, *unlike)?;
        }
        let help = "1 for each reason why visitors should go elsewhere, or somebody should look";
        let mut encoder = page.0.encode_descriptor("difusor_health", help, None, MetricType::Gauge)?;
        for (reason, is_so) in health {
            ConstGauge::new(i64::from(*is_so)).encode(encoder.encode_family(&[("reason", *reason)])?)?;
        }
        if let Some([members, alive, fit]) = *peers {
            page.gauge("difusor_mesh_members", None, "Nodes of the mesh", members)?;
            page.gauge("difusor_mesh_alive", None, "Nodes that are there, this one included", alive)?;
            page.gauge("difusor_mesh_fit", None, "Nodes that this one would send visitors to", fit)?;
        }
        if let Some([came, given]) = *relayed {
            let help = "Bytes of cuts that other nodes gave, and that were given to them";
            let directions = [("in", came), ("out", given)].map(|(direction, n)| ([("direction", direction)], n));
            page.counters("difusor_relayed_bytes", help, directions)?;
        }
        if let Some(clock_us) = *clock_us {
            let help = "What the clocks of other nodes are ahead of this one, in the middle";
            page.gauge("difusor_clock_offset", Some(Unit::Seconds), help, clock_us as f64 / 1e6)?;
        }
        Ok(())
    }
}

/// The process itself, under the names that all exporters use.
fn process(page: &mut Page<'_>, started: SystemTime) -> fmt::Result {
    let (resident, peak) = process::resident();
    page.gauge("process_resident_memory", Some(Unit::Bytes), "Resident memory", resident)?;
    page.gauge("process_peak_resident_memory", Some(Unit::Bytes), "The most there was since the start", peak)?;
    page.gauge("process_start_time", Some(Unit::Seconds), "When it started, since 1970", unix(started))?;
    if let Some(open) = open_descriptors() {
        page.gauge("process_open_fds", None, "Files and sockets open now", open)?;
    }
    if let Some(most) = most_descriptors() {
        page.gauge("process_max_fds", None, "Most that may be open", most)?;
    }
    page.info("difusor_build", "The program", &[("version", env!("CARGO_PKG_VERSION"))])
}

/// How many files and sockets are open; `None` where the system does not say.
fn open_descriptors() -> Option<u64> {
    // The one that reads the folder is not counted.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

/// How many may be; `None` if the system does not say, or there is no limit.
fn most_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Writes one metric after another.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, unit: Option<Unit>, help: &str, value: u64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauge(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        value: impl EncodeGaugeValue + Debug,
    ) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, unit: Unit, help: &str, totals: &Totals) -> fmt::Result {
        let seconds = |us: u64| us as f64 / 1e6;
        let bounds = BOUNDS.into_iter().map(seconds).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = zip(bounds, totals.heads).collect();
        let mut encoder = self.0.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        let count = totals.heads.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(totals.heads_us), count, &buckets, None)
    }

    fn info(&mut self, name: &str, help: &str, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    };

    use difusor_proto::{CutKey, Digest, store::Scrubbed};

    use super::{
        super::{AccessLog, Observatory},
        *,
    };
    use crate::{admission::rules::book::RulesStatus, dns::update::keeper::UpdateView};

    /// Every sample by its name with labels, and the type of every metric; refuses text that is not as it should be.
    fn read(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = BTreeSet::new();
        let mut lines: Vec<&str> = text.strip_suffix('\n').unwrap().split('\n').collect();
        assert_eq!(lines.pop(), Some("# EOF"));
        for line in lines {
            if let Some(comment) = line.strip_prefix("# ") {
                let [kind, name, rest] = comment.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
                match kind {
                    "HELP" => assert!(helped.insert(name.to_owned()) && !rest.is_empty(), "{line}"),
                    "TYPE" => assert!(types.insert(name.to_owned(), rest.to_owned()).is_none(), "{line}"),
                    "UNIT" => assert!(name.ends_with(rest), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
            let family = suffixes.iter().find_map(|suffix| types.get(name.strip_suffix(suffix)?));
            assert!(family.is_some(), "a sample before its type: {line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
        }
        assert_eq!(helped, types.keys().cloned().collect());
        (samples, types)
    }

    #[test]
    fn what_was_counted_is_what_is_read() {
        let observatory = Observatory::new(2, AccessLog::off());
        let [one, other] = observatory.tallies() else { panic!() };
        one.answered(Protocol::H2, 200);
        other.answered(Protocol::H2, 200);
        other.answered(Protocol::H3, 418);
        one.sent(4096);
        one.opened();
        other.opened();
        one.closed();
        one.refused();
        other.handshake(Handshake::Full);
        other.handshake_failed(Failure::Timeout);
        one.head_took(Duration::from_micros(30));
        one.head_took(Duration::from_secs(1));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let label = "20210606_2240".parse().unwrap();
        let text = observatory.scrape(Snapshot {
            cut: Some(CutKey { seq: 17, label, root: Digest::of(b"") }),
            flips: 3,
            flipped: Some(SystemTime::now() - Duration::from_secs(60)),
            certificate_expires: Some(at(2_000_000_000)),
            connected: true,
            refused: vec![("a \"reason\"\n".into(), 2)],
            scrub: Scrubbed {
                bytes: 77,
                passes: 2,
                last_pass_ms: Some(2_500),
                found: 4,
                healed: 3,
                ..Scrubbed::default()
            },
            wanted: 1,
            withheld: 1,
            rules: RulesStatus {
                counts: vec![("a".into(), "denied".into(), 3)],
                rules: 1,
                held: 2,
                refused: 4,
                error: Some("x".into()),
            },
            http3: vec![("retries", 5)],
            dns: vec![("answered", 6)],
            unlike: Some(2),
            zone: Some(UpdateView {
                is_writer: true,
                lag: Duration::from_millis(1500),
                outcomes: vec![("updated", 2), ("refused", 1)],
            }),
            health: vec![("behind", true), ("empty", false)],
            peers: Some([5, 4, 3]),
            relayed: Some([8, 9]),
            clock_us: Some(-1_500_000),
            bans: vec![("abuse", 4)],
            banned: 2,
            places: Some((1024, 7, 1)),
            kernel: Some(crate::kernel::KernelView {
                entries: 3,
                failed: 1,
                packets: 9,
                bytes: 540,
                ..Default::default()
            }),
        });
        let (samples, types) = read(&text);
        for (name, value) in [
            ("difusor_http_requests_total{protocol=\"h2\",code=\"200\"}", 2.0),
            ("difusor_http_requests_total{protocol=\"h3\",code=\"4xx\"}", 1.0),
            ("difusor_http_requests_total{protocol=\"h1\",code=\"503\"}", 0.0),
            ("difusor_http_body_bytes_total", 4096.0),
            ("difusor_http_head_seconds_bucket{le=\"0.00002\"}", 0.0),
            ("difusor_http_head_seconds_bucket{le=\"0.00005\"}", 1.0),
            ("difusor_http_head_seconds_bucket{le=\"0.2\"}", 1.0),
            ("difusor_http_head_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("difusor_http_head_seconds_count", 2.0),
            ("difusor_http_head_seconds_sum", 1.00003),
            ("difusor_access_log_dropped_total", 0.0),
            ("difusor_kernel_active", 1.0),
            ("difusor_dns_queries_total{outcome=\"answered\"}", 6.0),
            ("difusor_dnssec_unlike", 2.0),
            ("difusor_dns_updates_total{outcome=\"updated\"}", 2.0),
            ("difusor_dns_update_writer", 1.0),
            ("difusor_dns_update_lag_seconds", 1.5),
            ("difusor_health{reason=\"behind\"}", 1.0),
            ("difusor_health{reason=\"empty\"}", 0.0),
            ("difusor_mesh_alive", 4.0),
            ("difusor_mesh_fit", 3.0),
            ("difusor_relayed_bytes_total{direction=\"out\"}", 9.0),
            ("difusor_clock_offset_seconds", -1.5),
            ("difusor_kernel_entries", 3.0),
            ("difusor_kernel_orders_total{outcome=\"failed\"}", 1.0),
            ("difusor_kernel_dropped_packets_total", 9.0),
            ("difusor_kernel_dropped_bytes_total", 540.0),
            ("difusor_http3_events_total{event=\"retries\"}", 5.0),
            ("difusor_bans_total{offence=\"abuse\"}", 4.0),
            ("difusor_banned", 2.0),
            ("difusor_downloads_places", 1024.0),
            ("difusor_downloads", 7.0),
            ("difusor_shedding_level", 1.0),
            ("difusor_rule_requests_total{rule=\"a\",outcome=\"denied\"}", 3.0),
            ("difusor_rules", 1.0),
            ("difusor_rules_held", 2.0),
            ("difusor_rules_refused_total", 4.0),
            ("difusor_rules_stale", 1.0),
            ("difusor_connections_open", 1.0),
            ("difusor_connections_total", 2.0),
            ("difusor_connections_ended_total{reason=\"refused\"}", 1.0),
            ("difusor_connections_ended_total{reason=\"abusive\"}", 0.0),
            ("difusor_tls_handshakes_total{kind=\"full\"}", 1.0),
            ("difusor_tls_handshakes_total{kind=\"resumed\"}", 0.0),
            ("difusor_handshake_failures_total{reason=\"timeout\"}", 1.0),
            ("difusor_certificate_expiry_seconds", 2e9),
            ("difusor_cut_info{label=\"20210606_2240\",seq=\"17\"}", 1.0),
            ("difusor_cut_flips_total", 3.0),
            ("difusor_verdict{verdict=\"quiet\"}", 1.0),
            ("difusor_verdict{verdict=\"attack\"}", 0.0),
            ("difusor_attack{kind=\"scan\"}", 0.0),
            ("difusor_sources{window=\"60s\"}", 0.0),
            ("difusor_coordinator_connected", 1.0),
            ("difusor_scrub_read_bytes_total", 77.0),
            ("difusor_scrub_last_pass_seconds", 2.5),
            ("difusor_scrub_damaged_total", 4.0),
            ("difusor_scrub_healed_total", 3.0),
            ("difusor_scrub_wanted", 1.0),
            ("difusor_coordinator_refused_total{reason=\"a \\\"reason\\\"\\n\"}", 2.0),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name} in\n{text}");
        }
        assert!((60.0..600.0).contains(&samples["difusor_cut_age_seconds"]));
        assert!(samples["process_resident_memory_bytes"] > 1e6);
        assert!(samples["process_peak_resident_memory_bytes"] >= samples["process_resident_memory_bytes"]);
        assert!(samples["process_open_fds"] > 2.0 && samples["process_max_fds"] > samples["process_open_fds"]);
        assert!(samples["process_start_time_seconds"] > 1.7e9);
        assert_eq!(types["difusor_http_head_seconds"], "histogram");
        assert_eq!(types["difusor_cut"], "info");
        assert_eq!(types["difusor_connections_open"], "gauge");
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let (samples, _) = read(&Observatory::new(0, AccessLog::off()).scrape(Snapshot::default()));
        for absent in ["difusor_cut_info", "difusor_cut_age_seconds", "difusor_certificate_expiry_seconds"] {
            assert!(!samples.keys().any(|series| series.starts_with(absent)), "{absent}");
        }
        assert_eq!(samples["difusor_cut_flips_total"], 0.0);
        assert_eq!(samples["difusor_coordinator_connected"], 0.0);
    }
}
