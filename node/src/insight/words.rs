//! A judgement in English, for someone who runs a site and not a network.
//!
//! Two readings of the same: for the status, which the operator alone sees, those who send much that is refused are named;
//! for the log they are "one address". Those who get what they ask for are never named.

use super::{
    verdict::{Judgement, Kind, Verdict, evidence::Finding},
    view::Part,
};

/// Whether attackers are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// For the status.
    Shown,
    /// For the log.
    Hidden,
}

/// All in one line: what is going on, and why.
pub fn words(judgement: &Judgement, names: Names) -> String {
    let title = title(judgement);
    let reasons = reasons(judgement, names);
    if reasons.is_empty() { format!("{title}.") } else { format!("{title}: {}.", reasons.join("; ")) }
}

/// The reasons, one by one.
pub fn reasons(judgement: &Judgement, names: Names) -> Vec<String> {
    judgement.findings.iter().filter_map(|finding| said(finding, names)).collect()
}

/// What is going on, without reasons.
pub fn title(judgement: &Judgement) -> String {
    let kinds: Vec<&str> = judgement.kinds.iter().map(|kind| phrase(*kind)).collect();
    match judgement.verdict {
        Verdict::Quiet => "Quiet".into(),
        Verdict::Demand => "Demand".into(),
        Verdict::Attack => format!("Attack {}", kinds.join(" and ")),
        Verdict::Mixed => format!("Demand, and an attack {}", kinds.join(" and ")),
    }
}

fn phrase(kind: Kind) -> &'static str {
    match kind {
        Kind::OneSource => "from few addresses",
        Kind::OneNetwork => "from one network",
        Kind::OnePath => "on one path",
        Kind::Scan => "by asking for what is not there",
        Kind::SlowClients => "by slow clients",
        Kind::HandshakeFlood => "by handshakes",
        Kind::ProtocolAbuse => "by abuse of the protocol",
        Kind::BulkDrain => "by draining bytes",
    }
}

fn said(finding: &Finding, names: Names) -> Option<String> {
    let who = |part: &Part, is_network: bool| match (names, is_network) {
        (Names::Shown, _) => part.who.clone(),
        (Names::Hidden, true) => "one network".into(),
        (Names::Hidden, false) => "one address".into(),
    };
    Some(match finding {
        Finding::Few { part, is_network } => {
            let (who, share, refused) = (who(part, *is_network), percent(part.share), percent(part.refused));
            format!("{who} sends {share} of the requests, {refused} of which are refused")
        }
        Finding::OnePath { path, share, times, strangers } => {
            let (share, strangers) =
                (percent(*share), if *strangers { ", and nearly all of them are new" } else { "" });
            format!(
                "{share} of the requests are for {path}, {} from each source in ten seconds{strangers}",
                number(*times)
            )
        }
        Finding::NoSuchPath { path, share } => {
            // It may be made of what is nobody's business: only the operator sees it.
            let path = if names == Names::Shown { path } else { "one path" };
            format!("{} of the requests are for {path}, which no cut has", percent(*share))
        }
        Finding::Scan { share, rate, paths } => format!(
            "{} of the requests, {} a second, are for what no cut has, {} different paths in all",
            percent(*share),
            number(*rate),
            number(*paths)
        ),
        Finding::Slow { rate, share } => format!(
            "{} connections a second are let go because nothing is asked or read on them, {} of those that end",
            number(*rate),
            percent(*share)
        ),
        Finding::Failed { rate, share } => {
            format!("{} handshakes a second fail, {} of all", number(*rate), percent(*share))
        }
        Finding::Fruitless { rate, requests } => format!(
            "{} connections a second are opened, and only {} of them ask for anything",
            number(*rate),
            percent(*requests)
        ),
        Finding::Abuse { rate } => {
            format!("{} connections a second are closed because they break the protocol", number(*rate))
        }
        Finding::Malformed { share } => format!("{} of the requests are not HTTP", percent(*share)),
        Finding::Drain { part, share, times } => {
            let (who, share) = (who(part, false), percent(*share));
            format!("{who} takes {share} of all bytes, in answers {} times as large as those of others", number(*times))
        }
        Finding::Untaken { taken, rate } => {
            format!("{} MB a second are asked for, and only {} of that is taken", number(rate / 1e6), percent(*taken))
        }
        Finding::Trouble { part, is_network } => {
            format!("{} makes {} of that", who(part, *is_network), percent(part.share))
        }
        Finding::Others(Some(served)) if *served >= 0.95 => "the others are served as always".into(),
        Finding::Others(Some(served)) => format!("of what the others ask for, {} is refused", percent(1.0 - served)),
        Finding::Others(None) => return None,
        Finding::Crowd { sources, rate, times } => format!(
            "{} sources, {} requests a second, {} times the last ten minutes",
            number(*sources),
            number(*rate),
            number(*times)
        ),
        Finding::Pages { share, since_flip } => {
            let share = percent(*share);
            let flip = since_flip.map(|since| format!(", {} s after the flip", number(since.max(1.0))));
            format!("{share} of the requests are given what they ask for{}", flip.unwrap_or_default())
        }
        Finding::Nobody { share } => format!("nobody has more than {} of them", percent(*share)),
        Finding::Carrier { share } => format!(
            "one address has {} of them and is given what it asks for, as a carrier does with many people behind it",
            percent(*share)
        ),
        Finding::Usual { sources, rate } => {
            format!("{} sources, {} requests a second", number(*sources), number(*rate))
        }
        Finding::Young => "what is usual is not known yet".into(),
    })
}

/// A share: two digits where they say something.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        ..0.05 => "less than 0.1 %".into(),
        ..9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// A number as it is read: 41,200. What is estimated is not given to the last digit.
fn number(value: f64) -> String {
    let value = value.max(0.0);
    if value < 9.95 {
        let text = format!("{value:.1}");
        return text.strip_suffix(".0").map(ToOwned::to_owned).unwrap_or(text);
    }
    let unit = 10_f64.powf((value.log10().floor() - 2.0).max(0.0));
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (value, text) in [
            (0.0, "0"),
            (0.26, "0.3"),
            (3.0, "3"),
            (12.4, "12"),
            (999.6, "1,000"),
            (41_234.0, "41,200"),
            (9_876_543.0, "9,880,000"),
        ] {
            assert_eq!(number(value), text);
        }
        for (share, text) in [(0.0, "less than 0.1 %"), (0.002, "0.2 %"), (0.0996, "10 %"), (0.93, "93 %")] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn attackers_are_named_to_the_operator_alone() {
        let part = Part { who: "203.0.113.0/24".into(), count: 780.0, share: 0.78, refused: 0.99, bytes: 0.0 };
        let judgement = Judgement {
            verdict: Verdict::Attack,
            kinds: vec![Kind::OneNetwork, Kind::Scan],
            confidence: 0.9,
            findings: vec![
                Finding::Few { part: part.clone(), is_network: true },
                Finding::Trouble { part: Part { who: "203.0.113.9".into(), ..part }, is_network: false },
                Finding::NoSuchPath { path: "/user/maria".into(), share: 0.5 },
                Finding::Others(Some(1.0)),
            ],
        };
        assert_eq!(
            words(&judgement, Names::Shown),
            "Attack from one network and by asking for what is not there: 203.0.113.0/24 sends 78 % of the requests, \
             99 % of which are refused; 203.0.113.9 makes 78 % of that; 50 % of the requests are for /user/maria, which \
             no cut has; the others are served as always."
        );
        let hidden = words(&judgement, Names::Hidden);
        assert!(!hidden.contains("203") && !hidden.contains("maria"), "{hidden}");
        assert!(hidden.contains("one network sends 78 %") && hidden.contains("one address makes"), "{hidden}");
    }

    #[test]
    fn a_crowd_in_words() {
        let findings = vec![
            Finding::Crowd { sources: 41_180.0, rate: 5_120.0, times: 12.1 },
            Finding::Pages { share: 0.93, since_flip: Some(40.2) },
            Finding::Nobody { share: 0.002 },
        ];
        let judgement = Judgement { verdict: Verdict::Demand, kinds: Vec::new(), confidence: 0.9, findings };
        assert_eq!(
            words(&judgement, Names::Hidden),
            "Demand: 41,200 sources, 5,120 requests a second, 12 times the last ten minutes; 93 % of the requests are \
             given what they ask for, 40 s after the flip; nobody has more than 0.2 % of them."
        );
    }
}
