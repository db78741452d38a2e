//! Numbers as people read them: bytes in binary units, spans of time by their two largest parts.

const KIB: u64 = 1024;

/// `999 B`, `1.5 KiB`, `2.0 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < KIB {
        return format!("{count} B");
    }
    let mut unit = KIB;
    let mut name = "KiB";
    for larger in ["MiB", "GiB", "TiB", "PiB"] {
        if count / unit < KIB {
            break;
        }
        unit *= KIB;
        name = larger;
    }
    // Cut off rather than rounded, so that 1023.99 stays below 1024. A PiB is 2^50: ten times that is no overflow.
    format!("{}.{} {name}", count / unit, count % unit * 10 / unit)
}

/// `5s`, `2m 5s`, `3h 0m`, `2d 4h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A moment relative to another, both in seconds since 1970: `in 2h 3m`, `5s ago`.
pub(crate) fn relative(moment: i64, now: i64) -> String {
    let distance = span(moment.abs_diff(now));
    if moment >= now {
        format!("in {distance}")
    } else {
        format!("{distance} ago")
    }
}

/// `850µs`, `3.2ms`, `250ms`, `1.25s`: three digits or so, for columns that are compared at a glance.
pub(crate) fn latency(seconds: f64) -> String {
    let (value, unit) = match seconds {
        _ if seconds < 0.001 => (seconds * 1e6, "µs"),
        _ if seconds < 1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    match value {
        _ if value < 10.0 => format!("{value:.1}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}

/// `100%`, `99.95%`: cut off, not rounded, so that 100% is said of no failure at all.
pub(crate) fn percent(share: f64) -> String {
    let percent = (share * 1e4).floor() / 1e2;
    if percent >= 100.0 {
        return "100%".to_owned();
    }
    format!("{percent:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_bytes() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (100 * 1024 * 1024, "100.0 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn writes_spans() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m 5s"),
            (10_800, "3h 0m"),
            (187_200, "2d 4h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn writes_latencies_and_shares() {
        for (seconds, text) in [
            (0.000_05, "50µs"),
            (0.000_85, "850µs"),
            (0.0032, "3.2ms"),
            (0.25, "250ms"),
            (1.25, "1.2s"),
            (60.0, "60s"),
        ] {
            assert_eq!(latency(seconds), text);
        }
        for (share, text) in [
            (1.0, "100%"),
            (0.999_999, "99.99%"),
            (0.5, "50.00%"),
            (0.0, "0.00%"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn writes_moments() {
        assert_eq!(relative(1_060, 1_000), "in 1m 0s");
        assert_eq!(relative(995, 1_000), "5s ago");
        assert_eq!(relative(i64::MIN, i64::MAX).rsplit(' ').next(), Some("ago"));
    }
}
