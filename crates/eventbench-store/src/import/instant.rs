//! Instants as files write them: ISO 8601 and its usual variations, or seconds since the Unix epoch.

/// Days from the civil date of year 0, 1st of March, to the Unix epoch.
const DAYS_TO_1970: i64 = 719_468;

/// Milliseconds since the Unix epoch of `2025-11-03T14:25:36.5+01:00`, also with a space, dots or slashes, without
/// seconds or without a time of the day, or of a number of seconds. Without an offset it is UTC. Years 1970 to 9999.
pub(crate) fn unix_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().filter(|b| *b == b'.').count() <= 1 {
        let seconds: f64 = text.parse().ok()?;
        return (seconds < 253_402_300_800.0).then(|| (seconds * 1000.0).round() as i64);
    }
    let (date, rest) = match text.find(['T', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let mut parts = date.split(['-', '.', '/']);
    let (year, month, day) = (
        number(parts.next()?, 4)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = days.get(usize::try_from(month - 1).ok()?)?;
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=*last).contains(&day) {
        return None;
    }
    let (clock, offset_min) = offset(rest)?;
    let of_day = if clock.is_empty() { 0 } else { of_day(clock)? };
    Some(days_from_civil(year, month, day) * 86_400_000 + of_day - offset_min * 60_000)
}

/// Date and time as a run's id begins with them: `20251103-142536`.
pub(crate) fn stamp(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// The time of the day, and the minutes that it is ahead of UTC.
fn offset(rest: &str) -> Option<(&str, i64)> {
    if let Some(clock) = rest.strip_suffix(['Z', 'z']).or_else(|| rest.strip_suffix("UTC")) {
        return Some((clock.trim(), 0));
    }
    let Some(at) = rest.rfind(['+', '-']) else {
        return Some((rest, 0));
    };
    let sign = if rest[at..].starts_with('-') { -1 } else { 1 };
    let digits = rest[at + 1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then(|| (rest[..at].trim(), sign * (hours * 60 + minutes)))
}

fn of_day(clock: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (second, fraction) = match parts.next() {
        None => (0, ""),
        Some(text) => {
            let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
            (number(whole, 2)?, fraction)
        }
    };
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    if !fits || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Days since 1970. The year is counted from the 1st of March, so that the leap day is its last, in eras of 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms_are_read() {
        let known = 1_762_179_936_000;
        for (text, plus) in [
            ("2025-11-03T14:25:36Z", 0),
            ("2025-11-03T14:25:36.950030+00:00", 950),
            ("2025-11-03 14:25:36.5", 500),
            ("2025.11.03 15:25:36 +0100", 0),
            ("2025/11/3 9:25:36 -05:00", 0),
            ("2025-11-03 14:25 UTC", -36_000),
            ("2025-11-03", -51_936_000),
            ("1762179936", 0),
            ("1762179936.25", 250),
        ] {
            assert_eq!(unix_ms(text), Some(known + plus), "{text}");
        }
        assert_eq!(stamp(known), "20251103-142536");
        assert_eq!(unix_ms("2024-02-29"), Some(1_709_164_800_000));
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "T",
            "yesterday",
            "2025-13-01",
            "2025-02-29",
            "2025-11-03T24:00",
            "2025-11-03T1:2:3:4",
            "25-11-03T+",
            "2025-11-03T12:00+99:00",
            "2025-11-03T12:00:00.1234567890",
            "99999999999999999999",
            "1969-12-31",
            "1.2.3.4",
            "-5",
            "nan",
            "2025-11-03T12:00:é0",
            "１９９９-01-01",
        ] {
            assert_eq!(unix_ms(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_written_is_the_instant_read(ms in 0i64..253_402_300_800_000) {
            let stamp = stamp(ms);
            let text = format!("{}-{}-{}T{}:{}:{}.{:03}Z", &stamp[..4], &stamp[4..6], &stamp[6..8], &stamp[9..11], &stamp[11..13], &stamp[13..], ms % 1000);
            prop_assert_eq!(unix_ms(&text), Some(ms));
        }

        #[test]
        fn no_text_panics(text in "[-0-9T:+. /Zé]{0,30}") {
            let _ = unix_ms(&text);
        }
    }
}
