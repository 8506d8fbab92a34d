//! Amounts as people type and read them: lifetimes ("1h30m"), sizes ("1.5GiB"), counts ("24,512").
//!
//! It must never know where a number comes from or goes to; printing belongs to output.rs.

use std::time::Duration;

/// What `--ttl` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Never,
    For(Duration),
}

/// Reads "500ms", "45s", "10m", "1h30m", "2d", "1w" or "never". A number without a unit is refused:
/// whether it meant seconds or milliseconds is not ours to guess.
pub(crate) fn parse_lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime::Never);
    }
    let mut total_ms: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => {
                return Err(
                    "a lifetime is numbers with units ms, s, m, h, d or w, such as 10m or \
                            1h30m, or the word never"
                        .into(),
                );
            }
        };
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{number}{unit}` has no usable number before its unit"))?;
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .ok_or("the lifetime is too long to count in milliseconds")?;
        rest = after;
    }
    if total_ms == 0 {
        return Err("a lifetime must be longer than nothing".into());
    }
    Ok(Lifetime::For(Duration::from_millis(total_ms)))
}

/// Reads "4096", "64KiB", "1.5GiB" or "200MB"; units of 1024 carry an `i`, units of 1000 do not.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_where(text, |c| !c.is_ascii_digit() && c != '.');
    let unit_bytes: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => {
            return Err(format!(
                "`{other}` is no unit; use B, KiB, MiB, GiB, kB, MB or GB"
            ));
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let bad = || format!("`{text}` is no size; write it like 4096, 64MiB or 1.5GiB");
    // Nine digits say more than any size needs, and keep the arithmetic within 64 bits.
    if fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let billionths: u64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    let part = u128::from(unit_bytes) * u128::from(billionths) / 1_000_000_000;
    let part = u64::try_from(part).map_err(|_| bad())?;
    whole
        .checked_mul(unit_bytes)
        .and_then(|bytes| bytes.checked_add(part))
        .ok_or_else(bad)
}

/// "24512" as "24,512".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 file", "24,512 files": only for words that take an s.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Bytes with one decimal place and units of 1024.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (unit_bytes, unit) in UNITS {
        if number >= unit_bytes {
            return format!("{:.1} {unit}", ratio(number, unit_bytes));
        }
    }
    format!("{number} B")
}

/// "42 us", "31.2 ms", "1.50 s", "2 min 5 s".
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if time < Duration::from_millis(1) {
        format!("{} us", time.as_micros())
    } else if time < Duration::from_secs(1) {
        format!("{:.1} ms", seconds * 1_000.0)
    } else if time < Duration::from_secs(60) {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// A quotient for display; zero parts of nothing are zero.
#[expect(
    clippy::cast_precision_loss,
    reason = "three digits are shown, 52 bits are kept"
)]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// How many per second, for display.
pub(crate) fn per_second(number: u64, time: Duration) -> f64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
    ratio(number, nanos) * 1e9
}

/// How many whole things per second.
pub(crate) fn whole_per_second(number: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(number) * 1_000 / millis).unwrap_or(u64::MAX)
}

/// A length as a number that is as wide everywhere.
pub(crate) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Whole milliseconds, for JSON fields named `_ms`.
pub(crate) fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(ms: u64) -> Result<Lifetime, String> {
        Ok(Lifetime::For(Duration::from_millis(ms)))
    }

    #[test]
    fn lifetimes_add_up_their_parts() {
        assert_eq!(parse_lifetime("500ms"), lasts(500));
        assert_eq!(parse_lifetime("10m"), lasts(600_000));
        assert_eq!(parse_lifetime("1h30m"), lasts(5_400_000));
        assert_eq!(parse_lifetime("1w2d"), lasts(9 * 86_400_000));
        assert_eq!(parse_lifetime("never"), Ok(Lifetime::Never));
    }

    #[test]
    fn lifetimes_without_unit_number_or_length_are_refused() {
        for text in [
            "10",
            "m",
            "10x",
            "1h30",
            "-5s",
            "0s",
            "",
            "1.5h",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert!(parse_lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_take_both_kinds_of_units_and_fractions() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse_size("200MB"), Ok(200_000_000));
        assert_eq!(parse_size("0.5 kB"), Ok(500));
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for text in [
            "",
            "GiB",
            "1.GiB",
            "1..5GiB",
            "1.2.3",
            "5 parsecs",
            "-1",
            "99999999999GiB",
            "1.0000000001GiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(2_000, "file"), "2,000 files");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(duration(Duration::from_micros(42)), "42 us");
        assert_eq!(duration(Duration::from_millis(1_500)), "1.50 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
