//! Times on the command line.

use std::time::Duration;

/// Reads "500ms" or "2s".
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (text.strip_suffix('s').unwrap_or_default(), Duration::from_secs(1)),
    };
    let number: u32 = number
        .parse()
        .map_err(|_| format!("{text} is no time such as 500ms or 2s"))?;
    unit.checked_mul(number)
        .ok_or_else(|| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert!(duration("2").is_err() && duration("-1s").is_err());
    }
}
