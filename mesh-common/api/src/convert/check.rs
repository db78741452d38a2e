//! Checks of single fields that several resources have.

use std::time::Duration;

use super::{ConvertError, value};

/// Longest duration that is taken, 100 years: far more than any manifest can say, and short enough that every sum of
/// a few of them and the time fits any clock.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Longer durations than [`MAX_DURATION`] are sent as that.
pub(super) fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    let duration = duration.min(MAX_DURATION);
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration of more than 0.
pub(super) fn duration_from_wire(
    field: &str,
    message: Option<prost_types::Duration>,
) -> Result<Duration, ConvertError> {
    optional_duration_from_wire(field, message)?.ok_or_else(|| value(field, "is missing"))
}

/// Absent, or a duration of more than 0.
pub(super) fn optional_duration_from_wire(
    field: &str,
    message: Option<prost_types::Duration>,
) -> Result<Option<Duration>, ConvertError> {
    let Some(message) = message else { return Ok(None) };
    let parts = u64::try_from(message.seconds)
        .ok()
        .zip(u32::try_from(message.nanos).ok());
    match parts {
        Some((seconds, nanos)) if nanos < 1_000_000_000 && seconds <= MAX_DURATION.as_secs() => {
            let duration = Duration::new(seconds, nanos);
            if duration.is_zero() || duration > MAX_DURATION {
                Err(value(
                    field,
                    format!("{duration:?} is not above 0 and below 100 years"),
                ))
            } else {
                Ok(Some(duration))
            }
        }
        _ => Err(value(
            field,
            format!(
                "{} s and {} ns are no duration below 100 years",
                message.seconds, message.nanos
            ),
        )),
    }
}

/// A header's name in lower case: HTTP/2 has no other, and comparisons need not fold it (RFC 9113 §8.2.1).
pub(super) fn header_name(field: &str, name: String) -> Result<String, ConvertError> {
    if is_token(&name) && !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Ok(name)
    } else {
        Err(value(field, format!("'{name}' is no header name in lower case")))
    }
}

/// A header's value without what would end it (RFC 9110 §5.5).
pub(super) fn header_value(field: &str, text: String) -> Result<String, ConvertError> {
    if text
        .bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    {
        Ok(text)
    } else {
        Err(value(field, "has control characters"))
    }
}

/// A token (RFC 9110 §5.6.2): a method, or a cookie's name.
pub(super) fn token(field: &str, text: String) -> Result<String, ConvertError> {
    if is_token(&text) {
        Ok(text)
    } else {
        Err(value(field, format!("'{text}' is no token as RFC 9110 has it")))
    }
}

/// Any text but none.
pub(super) fn not_empty(field: &str, text: String) -> Result<String, ConvertError> {
    if text.is_empty() {
        Err(value(field, "is empty"))
    } else {
        Ok(text)
    }
}

/// A status code of HTTP that an answer can have.
pub(super) fn status(field: &str, status: u32, least: u16) -> Result<u16, ConvertError> {
    match u16::try_from(status) {
        Ok(status) if (least..=599).contains(&status) => Ok(status),
        _ => Err(value(field, format!("{status} is no status from {least} to 599"))),
    }
}

/// A status code of gRPC that says that a call failed.
pub(super) fn grpc_status(field: &str, status: u32) -> Result<u32, ConvertError> {
    if (1..=16).contains(&status) {
        Ok(status)
    } else {
        Err(value(field, format!("{status} is no gRPC status from 1 to 16")))
    }
}

/// A number that has a largest value.
pub(super) fn at_most(field: &str, number: u32, most: u32) -> Result<u32, ConvertError> {
    if number <= most {
        Ok(number)
    } else {
        Err(value(field, format!("{number} is more than {most}")))
    }
}

/// A number that must not be 0.
pub(super) fn not_zero(field: &str, number: u32) -> Result<u32, ConvertError> {
    if number == 0 {
        Err(value(field, "is 0"))
    } else {
        Ok(number)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
