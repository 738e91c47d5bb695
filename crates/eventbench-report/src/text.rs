//! Text that is safe to show, dates and durations in words: small pure functions that every report shares.

/// A text of unknown origin as one line that no terminal obeys: control characters and those that change the direction
/// of writing or cannot be seen become visible escapes, line breaks and tabs become spaces.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            '\r' => {}
            c if hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that act or hide instead of showing: controls, direction marks, zero widths, tags and private use.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text in ASCII: the signs that reports use by their usual substitutes, everything else as an escape.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            'µ' | 'μ' => out.push('u'),
            '–' | '—' | '─' | '−' => out.push('-'),
            '±' => out.push_str("+/-"),
            '×' => out.push('x'),
            '…' => out.push_str("..."),
            '·' => out.push('|'),
            '≤' => out.push_str("<="),
            '≥' => out.push_str(">="),
            '→' => out.push_str("->"),
            '“' | '”' => out.push('"'),
            '‘' | '’' => out.push('\''),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// Date and time in UTC, `2025-11-03 14:25:36 UTC`, of milliseconds since the Unix epoch.
///
/// The civil date is counted in eras of 400 years (146,097 days) from the 1st of March of year 0, so that the leap day is
/// the last of its year.
pub fn utc(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The date alone.
pub fn date(unix_ms: i64) -> String {
    utc(unix_ms).split(' ').next().unwrap_or_default().to_owned()
}

fn civil(days_since_1970: i64) -> (i64, i64, i64) {
    const DAYS_TO_1970: i64 = 719_468;
    let days = days_since_1970 + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// A length of time in words: `3.2 s`, `4 min 5 s`, `1 h 2 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    let whole = seconds.round() as u64;
    if whole < 60 {
        format!("{} s", eventbench_core::units::digits((seconds * 10.0).round() / 10.0))
    } else if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole / 60 % 60)
    }
}

/// Breaks a text at spaces into lines of at most `width` characters where words allow; later lines are indented.
pub fn wrap(text: &str, width: usize, first: &str, later: &str) -> String {
    let mut out = first.to_owned();
    let mut column = first.chars().count();
    let mut fresh = true;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let length = word.chars().count();
        if !fresh && column + 1 + length > width {
            out.push('\n');
            out.push_str(later);
            column = later.chars().count();
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_399_000, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00 UTC"),
            (1_762_179_936_000, "2025-11-03 14:25:36 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
            (1_735_689_599_999, "2024-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }

    #[test]
    fn lengths_are_said_in_words() {
        for (s, text) in [
            (0.0, "0 s"),
            (3.24, "3.2 s"),
            (59.96, "1 min 0 s"),
            (245.0, "4 min 5 s"),
            (3725.0, "1 h 2 min"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(duration(s), text);
        }
    }

    proptest! {
        #[test]
        fn each_day_follows_the_one_before(day in -800_000i64..3_000_000) {
            let (year, month, of_month) = civil(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
            let next = match (of_month == length, month) {
                (true, 12) => (year + 1, 1, 1),
                (true, _) => (year, month + 1, 1),
                _ => (year, month, of_month + 1),
            };
            prop_assert_eq!(civil(day + 1), next);
        }

        #[test]
        fn nothing_printable_acts(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{:?}", shown);
            prop_assert!(ascii(&shown).is_ascii());
        }

        #[test]
        fn wrapping_keeps_every_word(text in "[a-z ]{0,200}", width in 20usize..100) {
            let wrapped = wrap(&text, width, "* ", "  ");
            prop_assert!(wrapped.lines().all(|l| l.len() <= width || !l[2..].contains(' ')));
            prop_assert_eq!(wrapped[2..].split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        }
    }
}
