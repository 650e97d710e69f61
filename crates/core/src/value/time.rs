//! The calendar: texts of dates and times to the numbers that cross the seam, and back.
//!
//! Dates are days and timestamps are microseconds, both counted from **2000-01-01**T00:00:00, in the proleptic
//! Gregorian calendar: the numbers of PostgreSQL's wire format, `infinity` and `-infinity` (the largest and the
//! smallest) included. Counted from 1970, the last 29 years of its range would not fit an `i64`.
//!
//! Years are astronomical: 1 BC is `0000`, 44 BC is `-000043`. The range read is PostgreSQL's
//! (<https://www.postgresql.org/docs/current/datatype-datetime.html>): from 4714-11-24 BC, to 5874897-12-31 for
//! dates and to the end of 294276 for timestamps.
//!
//! Reading is strict where leniency would be a guess: an instant needs its offset, a local timestamp must not
//! have one, and a fraction finer than a microsecond is refused, not rounded.

/// Microseconds in a day.
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 60 * MINUTE;
const MINUTE: i64 = 60 * SECOND;
const SECOND: i64 = 1_000_000;

/// The first day that PostgreSQL knows: Julian day 0, 4714-11-24 BC.
const FIRST_DAY: i64 = days(-4713, 11, 24);
/// The last day that PostgreSQL's `date` holds.
const LAST_DAY: i64 = days(5_874_897, 12, 31);
/// The last day that PostgreSQL's timestamps hold.
const LAST_TIMESTAMP_DAY: i64 = days(294_276, 12, 31);

/// The year, month (1 to 12) and day of the month (from 1) of a day counted from 2000-01-01.
///
/// Good for any day of PostgreSQL's types, and for every day that an `i64` of microseconds can hold.
#[must_use]
pub const fn civil(days: i64) -> (i64, u8, u8) {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years that begin in March, in eras of
    // 400 years, which all have the same number of days.
    let z = days + 730_425;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, small(month), small(day))
}

/// The day, counted from 2000-01-01, of a year, month (1 to 12) and day of the month (from 1). The inverse of
/// [`civil`]; a day beyond the month's end counts on into the next month.
#[must_use]
pub const fn days(year: i64, month: u8, day: u8) -> i64 {
    let (month, day) = (month as i64, day as i64);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 730_425
}

/// Reads a date: `2026-01-31`, `+012026-01-31`, `-000043-03-15`, `infinity`.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    if let Some(sign) = infinity(text) {
        return Some(if sign { i32::MAX } else { i32::MIN });
    }
    let mut rest = Reader(text.as_bytes());
    let day = rest.date()?;
    if !rest.0.is_empty() || !(FIRST_DAY..=LAST_DAY).contains(&day) {
        return None;
    }
    i32::try_from(day).ok()
}

/// Reads a time of day: `13:37`, `13:37:00`, `13:37:00.123456`, `24:00:00`.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let mut rest = Reader(text.as_bytes());
    let time = rest.time()?;
    rest.0.is_empty().then_some(time)
}

/// Reads a local timestamp: a date and a time of day with `T` or a blank between, or `infinity`. One with an
/// offset is refused: dropping the offset, as PostgreSQL does, would change the value.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    if let Some(sign) = infinity(text) {
        return Some(if sign { i64::MAX } else { i64::MIN });
    }
    let mut rest = Reader(text.as_bytes());
    let timestamp = rest.timestamp()?;
    rest.0.is_empty().then_some(timestamp).and_then(in_range)
}

/// Reads an instant: a timestamp with `Z` or an offset such as `+02:00`, `+0200` or `+02`, or `infinity`. The
/// result is in UTC.
#[must_use]
pub fn parse_timestamptz(text: &str) -> Option<i64> {
    if let Some(sign) = infinity(text) {
        return Some(if sign { i64::MAX } else { i64::MIN });
    }
    let mut rest = Reader(text.as_bytes());
    let local = rest.timestamp()?;
    let offset = rest.offset()?;
    rest.0.is_empty().then(|| local.checked_sub(offset)).flatten().and_then(in_range)
}

/// Writes a day counted from 2000-01-01 as [`parse_date`] reads it; years outside 0000 to 9999 in ISO 8601's
/// expanded form, with a sign and six digits or more.
pub fn write_date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => write_day(out, i64::from(days)),
    }
}

/// Writes microseconds since midnight: `13:37:00.5`, with as many fraction digits as the value needs.
pub fn write_time(out: &mut Vec<u8>, micros: i64) {
    let (hours, rest) = (micros / HOUR, micros % HOUR);
    write_two(out, hours);
    out.push(b':');
    write_two(out, rest / MINUTE);
    out.push(b':');
    write_two(out, rest % MINUTE / SECOND);
    let mut fraction = rest % SECOND;
    if fraction > 0 {
        out.push(b'.');
        let mut unit = SECOND / 10;
        while fraction > 0 {
            out.push(b'0' + small(fraction / unit));
            fraction %= unit;
            unit /= 10;
        }
    }
}

/// Writes microseconds since 2000-01-01T00:00:00 as date, `T` and time, with a `Z` after it if `utc`.
pub fn write_timestamp(out: &mut Vec<u8>, micros: i64, utc: bool) {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            write_day(out, micros.div_euclid(DAY));
            out.push(b'T');
            write_time(out, micros.rem_euclid(DAY));
            if utc {
                out.push(b'Z');
            }
        }
    }
}

fn write_day(out: &mut Vec<u8>, day: i64) {
    let (year, month, day) = civil(day);
    if (0..=9999).contains(&year) {
        write_two(out, year / 100);
        write_two(out, year % 100);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(year.unsigned_abs()).as_bytes();
        out.extend_from_slice(&b"000000"[digits.len().min(6)..]);
        out.extend_from_slice(digits);
    }
    out.push(b'-');
    write_two(out, i64::from(month));
    out.push(b'-');
    write_two(out, i64::from(day));
}

/// Two digits of a number below 100.
fn write_two(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&[b'0' + small(number / 10), b'0' + small(number % 10)]);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parts of a date or time, below 100"
)]
const fn small(number: i64) -> u8 {
    number as u8
}

/// `Some(true)` for `infinity`, `Some(false)` for `-infinity`, in any case, as PostgreSQL reads them.
fn infinity(text: &str) -> Option<bool> {
    match text.strip_prefix('-') {
        Some(rest) => rest.eq_ignore_ascii_case("infinity").then_some(false),
        None => text.eq_ignore_ascii_case("infinity").then_some(true),
    }
}

fn in_range(micros: i64) -> Option<i64> {
    (FIRST_DAY..=LAST_TIMESTAMP_DAY).contains(&micros.div_euclid(DAY)).then_some(micros)
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What is left of the text; each method takes one part off its front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn date(&mut self) -> Option<i64> {
        let year = self.year()?;
        self.expect(b'-')?;
        let month = self.two(12)?;
        self.expect(b'-')?;
        let day = self.two(31)?;
        (month >= 1 && day >= 1 && day <= days_in_month(year, month)).then(|| days(year, month, day))
    }

    /// Four digits, or a sign and four to seven: more years than that no type holds.
    fn year(&mut self) -> Option<i64> {
        let sign = match self.0.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => 0,
        };
        if sign != 0 {
            self.0 = &self.0[1..];
        }
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let fits = if sign == 0 { length == 4 } else { (4..=7).contains(&length) };
        if !fits {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let year = digits.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
        // ISO 8601 has no year -0000; the year before 0001 is written 0000.
        if sign == -1 && year == 0 { None } else { Some(if sign == -1 { -year } else { year }) }
    }

    fn time(&mut self) -> Option<i64> {
        let hours = self.two(24)?;
        self.expect(b':')?;
        let minutes = self.two(59)?;
        let mut time = i64::from(hours) * HOUR + i64::from(minutes) * MINUTE;
        if self.expect(b':').is_some() {
            time += i64::from(self.two(59)?) * SECOND;
            if self.expect(b'.').is_some() {
                time += self.fraction()?;
            }
        }
        (time <= DAY).then_some(time)
    }

    fn fraction(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let (mut micros, mut unit) = (0, SECOND / 10);
        for digit in digits {
            // Finer than a microsecond only if it is nothing.
            if unit == 0 && *digit != b'0' {
                return None;
            }
            micros += i64::from(digit - b'0') * unit;
            unit /= 10;
        }
        (length > 0).then_some(micros)
    }

    fn timestamp(&mut self) -> Option<i64> {
        let day = self.date()?;
        self.expect(b'T').or_else(|| self.expect(b't')).or_else(|| self.expect(b' '))?;
        let time = self.time()?;
        // Near the edge the offset still decides, so the range is judged later; beyond, the product overflows.
        day.checked_mul(DAY)?.checked_add(time)
    }

    /// The microseconds that local time is ahead of UTC; up to a minute below 16 hours, as in PostgreSQL.
    fn offset(&mut self) -> Option<i64> {
        if self.expect(b'Z').or_else(|| self.expect(b'z')).is_some() {
            return Some(0);
        }
        let sign = if self.expect(b'+').is_some() {
            1
        } else {
            self.expect(b'-')?;
            -1
        };
        let hours = self.two(15)?;
        let colon = self.expect(b':').is_some();
        let minutes = if colon || !self.0.is_empty() { self.two(59)? } else { 0 };
        Some(sign * (i64::from(hours) * HOUR + i64::from(minutes) * MINUTE))
    }

    /// Two digits, at most `max`.
    fn two(&mut self, max: u8) -> Option<u8> {
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = self.0 else { return None };
        self.0 = rest;
        let number = (tens - b'0') * 10 + (ones - b'0');
        (number <= max).then_some(number)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == byte).then(|| self.0 = rest)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Date;
    use proptest::prelude::*;

    use super::*;

    fn date(days: i32) -> String {
        let mut out = Vec::new();
        write_date(&mut out, days);
        String::from_utf8(out).unwrap()
    }

    fn time(micros: i64) -> String {
        let mut out = Vec::new();
        write_time(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    fn timestamp(micros: i64, utc: bool) -> String {
        let mut out = Vec::new();
        write_timestamp(&mut out, micros, utc);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_both_ways() {
        for (text, days) in [
            ("2000-01-01", 0),
            ("1999-12-31", -1),
            ("1970-01-01", -10_957),
            ("2000-02-29", 59),
            ("2026-01-31", 9_527),
            ("9999-12-31", 2_921_939),
            ("+010000-01-01", 2_921_940),
            ("0001-01-01", -730_119),
            ("0000-12-31", -730_120),
            ("0000-02-29", -730_426),
            ("-000043-03-15", -746_117),
            // PostgreSQL's ends: 4714-11-24 BC and 5874897-12-31.
            ("-004713-11-24", -2_451_545),
            ("+5874897-12-31", 2_145_031_948),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ] {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(date(days), text);
        }
        for (text, days) in [("+2026-01-31", 9_527), ("-0043-03-15", -746_117), ("Infinity", i32::MAX)] {
            assert_eq!(parse_date(text), Some(days), "{text}");
        }
    }

    #[test]
    fn dates_refused() {
        for text in [
            "",
            "2026",
            "2026-1-31",
            "2026-01",
            "2026-00-01",
            "2026-13-01",
            "2026-01-00",
            "2026-01-32",
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "26-01-31",
            "12026-01-31",
            "-0000-01-01",
            "-004713-11-23",
            "+5874898-01-01",
            "+99999999-01-01",
            "2026-01-31T",
            " 2026-01-31",
            "2026-01-31 ",
            "2026/01/31",
            "infinit",
            "+infinity",
            "--infinity",
            "２０２６-01-31",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn times_both_ways() {
        for (text, micros) in [
            ("00:00:00", 0),
            ("13:37:00.5", 49_020_500_000),
            ("13:37:00.05", 49_020_050_000),
            ("00:00:00.000001", 1),
            ("23:59:59.999999", DAY - 1),
            ("24:00:00", DAY),
        ] {
            assert_eq!(parse_time(text), Some(micros), "{text}");
            assert_eq!(time(micros), text);
        }
        for (text, micros) in [("13:37", 49_020_000_000), ("00:00:00.10000000000", 100_000), ("24:00", DAY)] {
            assert_eq!(parse_time(text), Some(micros), "{text}");
        }
        for text in [
            "",
            "1:00",
            "13",
            "13:60",
            "13:37:60",
            "24:00:00.000001",
            "24:01",
            "25:00",
            "13:37:00.",
            "13:37:00.0000001",
            "13:37:00,5",
            "13:37:00Z",
            "infinity",
            "13:37:00 ",
            "-1:00:00",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_both_ways() {
        for (text, micros) in [
            ("2000-01-01T00:00:00", 0),
            ("1999-12-31T23:59:59.999999", -1),
            ("2026-01-31T13:37:00.5", 9_527 * DAY + 49_020_500_000),
            // PostgreSQL's ends (MIN_TIMESTAMP and END_TIMESTAMP - 1 of its datatype/timestamp.h).
            ("-004713-11-24T00:00:00", -211_813_488_000_000_000),
            ("+294276-12-31T23:59:59.999999", 9_223_371_331_199_999_999),
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
        ] {
            assert_eq!(parse_timestamp(text), Some(micros), "{text}");
            assert_eq!(timestamp(micros, false), text);
            let utc = if text.ends_with("infinity") { text.to_owned() } else { format!("{text}Z") };
            assert_eq!(parse_timestamptz(&utc), Some(micros), "{utc}");
            assert_eq!(timestamp(micros, true), utc);
        }
        for text in ["2026-01-31 13:37", "2026-01-31t13:37:00"] {
            assert_eq!(parse_timestamp(text), Some(9_527 * DAY + 49_020_000_000), "{text}");
        }
        assert_eq!(parse_timestamp("2026-01-30T24:00:00"), parse_timestamp("2026-01-31T00:00:00"));
        for text in [
            "2026-01-31",
            "2026-01-31T13:37:00Z",
            "2026-01-31T13:37:00+02",
            "2026-01-31T",
            "2026-01-31  13:37",
            "+294277-01-01T00:00:00",
            "+294276-12-31T24:00:00",
            "+5874897-12-31T00:00:00",
            "-004713-11-23T23:59:59",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn offsets() {
        let noon = parse_timestamp("2026-01-31T12:00:00").unwrap();
        for (text, hours) in [
            ("2026-01-31T12:00:00Z", 0),
            ("2026-01-31T12:00:00z", 0),
            ("2026-01-31T12:00:00+02:00", -2),
            ("2026-01-31 12:00:00+02", -2),
            ("2026-01-31T12:00:00+0200", -2),
            ("2026-01-31T12:00:00-0330", 3),
        ] {
            let half = if text.ends_with("30") { 30 * MINUTE } else { 0 };
            assert_eq!(parse_timestamptz(text), Some(noon + hours * HOUR + half), "{text}");
        }
        // The offset may carry a local time over the edge, and then the instant is judged.
        assert!(parse_timestamptz("-004713-11-23T23:00:00-01").is_some());
        assert_eq!(parse_timestamptz("-004713-11-24T00:00:00+01"), None);
        for text in [
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+",
            "2026-01-31T12:00:00+2",
            "2026-01-31T12:00:00+16",
            "2026-01-31T12:00:00+02:",
            "2026-01-31T12:00:00+02:60",
            "2026-01-31T12:00:00 02:00",
            "2026-01-31T12:00:00UTC",
            "2026-01-31T12:00:00Z ",
        ] {
            assert_eq!(parse_timestamptz(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(year in -9999i16..=9999, month in 1i8..=12, day in 1i8..=31) {
            let (wide, m, d) = (i64::from(year), u8::try_from(month).unwrap(), u8::try_from(day).unwrap());
            match Date::new(year, month, day) {
                Ok(date) => {
                    let since = date.since((jiff::Unit::Day, Date::new(2000, 1, 1).unwrap())).unwrap();
                    prop_assert_eq!(days(wide, m, d), i64::from(since.get_days()));
                    prop_assert_eq!(civil(days(wide, m, d)), (wide, m, d));
                }
                Err(_) => prop_assert!(d > days_in_month(wide, m)),
            }
        }

        #[test]
        fn every_date_comes_back(day in FIRST_DAY..=LAST_DAY) {
            let day = i32::try_from(day).unwrap();
            prop_assert_eq!(parse_date(&date(day)), Some(day));
        }

        #[test]
        fn every_timestamp_comes_back(micros in FIRST_DAY * DAY..(LAST_TIMESTAMP_DAY + 1) * DAY) {
            prop_assert_eq!(parse_timestamp(&timestamp(micros, false)), Some(micros));
            prop_assert_eq!(parse_timestamptz(&timestamp(micros, true)), Some(micros));
        }

        #[test]
        fn every_time_comes_back(micros in 0..=DAY) {
            prop_assert_eq!(parse_time(&time(micros)), Some(micros));
        }

        #[test]
        fn nothing_panics(text in "[-+0-9:TZ. ]{0,40}|\\PC{0,20}", number: i64, day: i32) {
            let _ = (parse_date(&text), parse_time(&text), parse_timestamp(&text), parse_timestamptz(&text));
            let _ = (date(day), timestamp(number, true));
        }
    }
}
