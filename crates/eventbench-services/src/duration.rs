//! Durations on a command line: a whole number and a unit.

use std::time::Duration;

/// Parses `0`, `500ns`, `200us` (or `200µs`), `2ms`, `1s`, `5m`, `1h`. Only zero may go without a unit.
///
/// # Errors
/// A sentence that names the text and the accepted units.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse =
        || format!("'{text}' is no duration: write a whole number and ns, us, ms, s, m or h, as in 200us, or 0");
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(refuse()),
    };
    number.checked_mul(unit_ns).map(Duration::from_nanos).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn whole_numbers_with_a_unit_parse() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("0ms", Duration::ZERO),
            ("7ns", Duration::from_nanos(7)),
            ("500us", Duration::from_micros(500)),
            ("500µs", Duration::from_micros(500)),
            ("2ms", Duration::from_millis(2)),
            ("1s", Duration::from_secs(1)),
            ("5m", Duration::from_secs(300)),
            ("1h", Duration::from_secs(3_600)),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in ["", "5", "ms", "1.5s", "-1s", "1 s", "99999999999h", "1d"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(&format!("'{text}'")), "{message}");
        }
    }
}
