//! The request's target and its authority (RFC 9112 §3.2).

use crate::guard::Refusal;

/// Checks that `target` has a form that `method` allows. Returns the authority that it names, if it names one.
pub(super) fn check<'a>(method: &[u8], target: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
    if method == b"CONNECT" {
        // authority-form, and the port must be there (RFC 9110 §9.3.6).
        let has_port = !target.ends_with(b"]") && target.contains(&b':');
        return if has_port && is_authority(target) {
            Ok(Some(target))
        } else {
            Err(Refusal::Target)
        };
    }
    match target {
        b"*" if method == b"OPTIONS" => Ok(None),
        [b'/', ..] if is_path_and_query(target) => Ok(None),
        [b'/', ..] => Err(Refusal::Target),
        _ => absolute(target).map(Some),
    }
}

/// Whether `value` is `host[:port]`, and nothing else: no user, no list, no characters that only some read.
pub(in crate::guard) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (address, after) = rest.split_at(end);
            if !is_ipv6(address) {
                return false;
            }
            match after {
                [b']'] => return true,
                [b']', b':', port @ ..] => (address, Some(port)),
                _ => return false,
            }
        }
        _ => match value.iter().position(|byte| !HOST[usize::from(*byte)]) {
            Some(end) if value.get(end) == Some(&b':') => (&value[..end], value.get(end + 1..)),
            Some(_) => return false,
            None => (value, None),
        },
    };
    let is_host = !host.is_empty();
    is_host && port.is_none_or(is_port)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len())
        && text.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(text).is_ok_and(|text| text.parse::<u16>().is_ok())
}

/// absolute-form: of http only, since nothing else is spoken here.
fn absolute(target: &[u8]) -> Result<&[u8], Refusal> {
    const SCHEME: &[u8] = b"http://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len()).ok_or(Refusal::Target)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_path = path.is_empty() || is_path_and_query(path);
    if scheme.eq_ignore_ascii_case(SCHEME) && is_authority(authority) && is_path {
        Ok(authority)
    } else {
        Err(Refusal::Target)
    }
}

/// Whether a URI can have it, and no reader cuts it off somewhere: there is no fragment in a target.
fn is_path_and_query(text: &[u8]) -> bool {
    let query = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
    let (path, query) = text.split_at(query);
    path.iter().all(|byte| PATH[usize::from(*byte)])
        && query.iter().all(|byte| QUERY[usize::from(*byte)])
        && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

/// What a host that is no address of IPv6 is made of.
const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// RFC 3986 §3.3 and what clients are known to send as it is, in so far as the `http` crate takes it.
const PATH: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21_usize;
    while byte < 256 {
        table[byte] = !matches!(byte, 0x23 | 0x3c | 0x3e | 0x3f | 0x60 | 0x7f);
        byte += 1;
    }
    table
};

/// RFC 3986 §3.4, likewise.
const QUERY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21_usize;
    while byte < 256 {
        table[byte] = !matches!(byte, 0x22 | 0x23 | 0x3e | 0x3c | 0x7f);
        byte += 1;
    }
    table
};
