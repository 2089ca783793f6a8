//! Civil time of the night: cut labels, the times printed in files, and the times stored in zips.
//!
//! Civil only: a night never crosses a change of the clock, so no time zone is involved.

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::digits::push_padded;

const MONTHS: [&str; 12] = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
];

/// Order of the parts of a printed date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateStyle {
    /// `31/12/2024`
    DayFirst,
    /// `2024-12-31`
    YearFirst,
}

/// Reads a label `YYYYMMDD_HHMM`; `None` for anything else.
pub(crate) fn parse_label(text: &str) -> Option<DateTime> {
    let time = DateTime::strptime("%Y%m%d_%H%M", text).ok()?;
    (label(time) == text).then_some(time)
}

/// The label of a moment; seconds are dropped.
pub(crate) fn label(time: DateTime) -> String {
    format!("{:04}{:02}{:02}_{:02}{:02}", time.year(), time.month(), time.day(), time.hour(), time.minute())
}

/// The moment `seconds` after `start`; stays at the end of the calendar if it would leave it.
pub(crate) fn after(start: DateTime, seconds: i64) -> DateTime {
    start.saturating_add(SignedDuration::from_secs(seconds))
}

/// `02 de junio de 2024`
pub(crate) fn long_date(time: DateTime) -> String {
    let month = MONTHS.iter().zip(1_i8..).find(|(_, number)| *number == time.month()).map_or("", |(name, _)| name);
    format!("{:02} de {month} de {}", time.day(), time.year())
}

/// `20:45`
pub(crate) fn hour(time: DateTime) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// Appends date and time; the seconds only if asked for.
pub(crate) fn push_time(out: &mut Vec<u8>, time: DateTime, style: DateStyle, seconds: bool) {
    let [year, month, day] = [u64::from(time.year().unsigned_abs()), small(time.month()), small(time.day())];
    match style {
        DateStyle::DayFirst => {
            push_padded(out, day, 2);
            out.push(b'/');
            push_padded(out, month, 2);
            out.push(b'/');
            push_padded(out, year, 4);
        }
        DateStyle::YearFirst => {
            push_padded(out, year, 4);
            out.push(b'-');
            push_padded(out, month, 2);
            out.push(b'-');
            push_padded(out, day, 2);
        }
    }
    out.push(b' ');
    push_padded(out, small(time.hour()), 2);
    out.push(b':');
    push_padded(out, small(time.minute()), 2);
    if seconds {
        out.push(b':');
        push_padded(out, small(time.second()), 2);
    }
}

fn small(part: i8) -> u64 {
    u64::from(part.unsigned_abs())
}

/// Time and date words of a zip entry (APPNOTE 4.4.6), to the minute of the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DosTime {
    pub(crate) time: u16,
    pub(crate) date: u16,
}

/// Years outside 1980 to 2107 become the nearest of them.
pub(crate) fn dos(time: DateTime) -> DosTime {
    let year = time.year().clamp(1980, 2107) - 1980;
    let part = |value: i8| u16::from(value.unsigned_abs());
    DosTime {
        time: part(time.hour()) << 11 | part(time.minute()) << 5,
        date: year.unsigned_abs() << 9 | part(time.month()) << 5 | part(time.day()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cross_midnight_month_and_leap_day() {
        let next = |text, minutes: i64| label(after(parse_label(text).unwrap(), minutes * 60));
        assert_eq!(next("20240602_2358", 3), "20240603_0001");
        assert_eq!(next("20240228_2355", 5), "20240229_0000");
        assert_eq!(next("20241231_2359", 1), "20250101_0000");
        assert_eq!(next("20240602_2000", 52 * 60), "20240605_0000");
    }

    #[test]
    fn labels_are_read_strictly() {
        for bad in ["", "20240602", "20240602-2000", "20240602_2460", "20240230_0000", "2024062_2000", "20240602_20000"]
        {
            assert_eq!(parse_label(bad), None, "{bad}");
        }
    }

    #[test]
    fn printed_times() {
        let time = parse_label("20240602_2045").unwrap();
        assert_eq!(long_date(time), "02 de junio de 2024");
        assert_eq!(hour(time), "20:45");
        let mut out = Vec::new();
        push_time(&mut out, after(time, 7), DateStyle::DayFirst, true);
        push_time(&mut out, time, DateStyle::YearFirst, false);
        assert_eq!(String::from_utf8(out).unwrap(), "02/06/2024 20:45:072024-06-02 20:45");
        assert_eq!(dos(time), DosTime { time: 20 << 11 | 45 << 5, date: 44 << 9 | 6 << 5 | 2 });
    }
}
