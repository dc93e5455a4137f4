//! Durations and sizes as people write them.
//!
//! in: `10m`, `1h30m`, `4GiB`, `500m` (processors); out: seconds, bytes, thousandths.
//! **Invariant:** a number without a unit is refused where a unit is meant; nothing overflows silently.

/// Seconds in `text`: whole numbers with `s`, `m`, `h` or `d`, largest unit first (`1h30m`).
pub fn duration_s(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let mut characters = after.chars();
        let unit = match characters.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        if unit >= smallest {
            return None;
        }
        smallest = unit;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = characters.as_str();
    }
    (smallest != u64::MAX).then_some(total)
}

/// Bytes in `text`: a whole number with `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024).
pub fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Thousandths of a processor in `text`: `2`, `0.5` or `500m`.
pub fn cpu_milli(text: &str) -> Option<u32> {
    let (whole, rest) = leading_number(text)?;
    let milli = match rest {
        "" => whole.checked_mul(1_000)?,
        "m" => whole,
        fraction => {
            let digits = fraction.strip_prefix('.').filter(|digits| (1..=3).contains(&digits.len()))?;
            let (part, "") = leading_number(digits)? else { return None };
            let scale = [100, 10, 1].get(digits.len() - 1)?;
            whole.checked_mul(1_000)?.checked_add(part.checked_mul(*scale)?)?
        }
    };
    u32::try_from(milli).ok().filter(|milli| *milli > 0)
}

/// A whole number at the start of `text`, and what follows.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_or_refused() {
        for (text, seconds) in [("10m", Some(600)), ("1h30m", Some(5_400)), ("90s", Some(90)), ("2d", Some(172_800))] {
            assert_eq!(duration_s(text), seconds, "{text}");
        }
        for text in ["", "10", "m", "10x", "30m1h", "1h1h", "-5s", "1.5h", "99999999999999999999s", "9999999999999999999d"] {
            assert_eq!(duration_s(text), None, "{text}");
        }
        for (text, bytes) in [("4GiB", Some(4 << 30)), ("512 MiB", Some(512 << 20)), ("1kB", Some(1_000)), ("7B", Some(7))] {
            assert_eq!(size_bytes(text), bytes, "{text}");
        }
        for text in ["", "4", "GiB", "4Gi", "4gib", "-1GiB", "99999999TiB"] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
        for (text, milli) in [("2", Some(2_000)), ("0.5", Some(500)), ("500m", Some(500)), ("1.25", Some(1_250)), ("0.050", Some(50))] {
            assert_eq!(cpu_milli(text), milli, "{text}");
        }
        for text in ["", "0", "-1", "1.", "1.2345", "two", "1.5m", "99999999"] {
            assert_eq!(cpu_milli(text), None, "{text}");
        }
    }
}
