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
    fn writes_moments() {
        assert_eq!(relative(1_060, 1_000), "in 1m 0s");
        assert_eq!(relative(995, 1_000), "5s ago");
        assert_eq!(relative(i64::MIN, i64::MAX).rsplit(' ').next(), Some("ago"));
    }
}
