//! Dates of fields, in the three forms that a recipient must read (RFC 9110 section 5.6.7).
//!
//! The day of the week must be the name of one, but is not held against the date. A leap second counts as the one
//! after it.

const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_DAYS: [&[u8]; 7] = [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];
const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Seconds of a mean year of the Gregorian calendar.
const YEAR: i64 = 31_556_952;

/// Unix seconds of a date; `None` if it is none.
///
/// `near`, in Unix seconds too, decides the century of a two-digit year: the latest that is not more than fifty years
/// after it.
pub fn parse(text: &[u8], near: i64) -> Option<i64> {
    let text = text.trim_ascii();
    match text.get(3)? {
        b',' => fixed(text),
        b' ' => asctime(text),
        _ => rfc850(text, near),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn fixed(text: &[u8]) -> Option<i64> {
    let mut rest = Rest(text);
    rest.name(&DAYS)?;
    rest.skip(b", ")?;
    let day = rest.number(2)?;
    rest.skip(b" ")?;
    let month = rest.name(&MONTHS)?;
    rest.skip(b" ")?;
    let year = rest.number(4)?;
    rest.skip(b" ")?;
    let time = rest.time()?;
    rest.end(b" GMT")?;
    instant(year, month, day, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], near: i64) -> Option<i64> {
    let mut rest = Rest(text);
    rest.name(&LONG_DAYS)?;
    rest.skip(b", ")?;
    let day = rest.number(2)?;
    rest.skip(b"-")?;
    let month = rest.name(&MONTHS)?;
    rest.skip(b"-")?;
    let year = rest.number(2)?;
    rest.skip(b" ")?;
    let time = rest.time()?;
    rest.end(b" GMT")?;
    let near = near.clamp(instant(0, 1, 1, 0)?, instant(9999, 12, 31, 0)?);
    let latest = near + 50 * YEAR;
    let century = year_of(near).div_euclid(100) * 100;
    let candidates = [century + 100, century, century - 100].into_iter();
    candidates.filter_map(|century| instant(century + year, month, day, time)).find(|instant| *instant <= latest)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<i64> {
    let mut rest = Rest(text);
    rest.name(&DAYS)?;
    rest.skip(b" ")?;
    let month = rest.name(&MONTHS)?;
    rest.skip(b" ")?;
    let day = match rest.skip(b" ") {
        Some(()) => rest.number(1)?,
        None => rest.number(2)?,
    };
    rest.skip(b" ")?;
    let time = rest.time()?;
    rest.skip(b" ")?;
    let year = rest.number(4)?;
    rest.end(b"")?;
    instant(year, month, day, time)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn end(&self, expected: &[u8]) -> Option<()> {
        (self.0 == expected).then_some(())
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    }

    /// Which of these names comes, counted from 1.
    fn name(&mut self, names: &[&[u8]]) -> Option<i64> {
        let (at, rest) = (1..).zip(names).find_map(|(at, name)| self.0.strip_prefix(*name).map(|rest| (at, rest)))?;
        self.0 = rest;
        Some(at)
    }

    /// Seconds of the day.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.skip(b":")?;
        let minute = self.number(2)?;
        self.skip(b":")?;
        let second = self.number(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some((hour * 60 + minute) * 60 + second)
    }
}

/// Unix seconds of a moment of the proleptic Gregorian calendar; `None` if there is no such day.
fn instant(year: i64, month: i64, day: i64, time: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end, so months need no table.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + time)
}

/// The year of a moment, within a day at its ends: enough to find a century.
fn year_of(moment: i64) -> i64 {
    1970 + moment.div_euclid(YEAR)
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;

    const NEAR: i64 = 1_623_000_000;

    fn read(text: &str) -> Option<i64> {
        parse(text.as_bytes(), NEAR)
    }

    #[test]
    fn known_dates() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun Nov 16 08:49:37 1994", Some(784_975_777)),
            ("Sun Nov 06 08:49:37 1994", Some(784_111_777)),
            ("  Sun, 06 Nov 1994 08:49:37 GMT\t", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Sat, 01 Jan 0000 00:00:00 GMT", Some(-62_167_219_200)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Mon, 07 Jun 2021 01:40:00 GMT", Some(1_623_030_000)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            // A leap second, and a day of the week that is another one's.
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Wed, 29 Feb 2023 12:00:00 GMT", None),
            ("Thu, 29 Feb 1900 12:00:00 GMT", None),
            ("Sun, 31 Apr 1994 08:49:37 GMT", None),
            ("Sun, 32 Nov 1994 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:60:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 gmt", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT GMT", None),
            ("Sun, 06 nov 1994 08:49:37 GMT", None),
            ("sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Son, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Sun,06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 94", None),
            ("Sun Nov  6 08:49:37 1994 GMT", None),
            ("Sun Nov   6 08:49:37 1994", None),
            ("1994-11-06T08:49:37Z", None),
            ("784111777", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn two_digits_are_never_more_than_fifty_years_ahead() {
        for (near, year, expected) in [
            (2021, "94", 1994),
            (2021, "21", 2021),
            (2021, "22", 2022),
            (2021, "00", 2000),
            (2021, "70", 2070),
            (2021, "72", 1972),
            (2021, "99", 1999),
            (1994, "94", 1994),
            (1994, "30", 2030),
            (1994, "45", 1945),
            (2099, "00", 2100),
            (2099, "50", 2050),
            (2000, "00", 2000),
        ] {
            let near = instant(near, 6, 15, 0).unwrap();
            let text = format!("Monday, 15-Jun-{year} 00:00:00 GMT");
            assert_eq!(parse(text.as_bytes(), near), instant(expected, 6, 15, 0), "{year} near {near}");
        }
        // The same day in fifty years is not yet more than fifty years away; two days later is.
        let near = instant(2021, 6, 15, 0).unwrap();
        assert_eq!(parse(b"Monday, 15-Jun-71 00:00:00 GMT", near), instant(2071, 6, 15, 0));
        assert_eq!(parse(b"Monday, 17-Jun-71 00:00:00 GMT", near), instant(1971, 6, 17, 0));
        assert_eq!(parse(b"Monday, 15-Jun-71 00:00:00 GMT", i64::MAX), instant(9971, 6, 15, 0));
        assert_eq!(parse(b"Monday, 15-Jun-71 00:00:00 GMT", i64::MIN), instant(-29, 6, 15, 0));
    }

    proptest! {
        #[test]
        fn every_form_of_every_second(seconds in -62_167_219_200i64..=253_402_207_200) {
            let moment = Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC);
            let fixed = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(read(&fixed), Some(seconds), "{}", fixed);
            let asctime = moment.strftime("%a %b %e %H:%M:%S %Y").to_string();
            prop_assert_eq!(read(&asctime), Some(seconds), "{}", asctime);
            let rfc850 = moment.strftime("%A, %d-%b-%y %H:%M:%S GMT").to_string();
            prop_assert_eq!(parse(rfc850.as_bytes(), seconds), Some(seconds), "{}", rfc850);
        }

        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..60), near in any::<i64>()) {
            parse(&text, near);
        }

        #[test]
        fn nearly_a_date(
            text in "(Sun|Sunday|Mon)[, ]{1,2}[0-9]{1,2}[ -](Feb|Nov)[ -][0-9]{2,4} [0-9:]{8} (GMT)?",
            near in any::<i64>(),
        ) {
            parse(text.as_bytes(), near);
        }
    }
}
