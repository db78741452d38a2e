//! The reader before the parser of HTTP/1: what it lets through does not depend on the pieces in which it comes, and another
//! reader, made of the parser that hyper uses, finds the same requests in it.

use httparse::{EMPTY_HEADER, Status};
use mesh_http::guard::Refusal;
use mesh_http::guard::h1::{Guard, Limits, Position, Released};

const LIMITS: Limits = Limits {
    max_head_bytes: 4096,
    max_fields: 32,
};

/// The bytes are a connection. No upgrade is granted.
pub fn check(bytes: &[u8]) {
    let once = read(bytes, bytes.len().max(1));
    for size in [1, 3, 7] {
        assert_eq!(read(bytes, size), once, "in pieces of {size}");
    }
    let (released, end) = once;
    let is_between = read_again(&released);
    if end == Ok(Position::Idle) {
        assert!(
            is_between,
            "the other reader is within a request: {:?}",
            released.escape_ascii()
        );
    }
    if end == Ok(Position::Content) {
        assert!(
            !is_between,
            "the other reader is between requests: {:?}",
            released.escape_ascii()
        );
    }
}

/// What went on, and how it ended.
fn read(bytes: &[u8], size: usize) -> (Vec<u8>, Result<Position, Refusal>) {
    let mut guard = Guard::new(LIMITS);
    let (mut waiting, mut all) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        loop {
            let Released { count, cut } = match guard.release(&waiting) {
                Ok(released) => released,
                Err(refusal) => return (all, Err(refusal)),
            };
            assert!(count <= waiting.len(), "more went on than there was");
            assert!(cut.start <= cut.end && cut.end <= count, "{cut:?} of {count}");
            let taken: Vec<u8> = waiting.drain(..count).collect();
            all.extend_from_slice(&taken[..cut.start]);
            all.extend_from_slice(&taken[cut.end..]);
            if guard.position() == Position::Held {
                // Whichever request it was that asked.
                (1..=bytes.len() as u64).for_each(|number| guard.answered(number, false));
                assert_ne!(guard.position(), Position::Held);
            } else if count == 0 {
                break;
            }
        }
    }
    (all, Ok(guard.position()))
}

/// Reads what went on as a server does; says whether it ends between two requests.
fn read_again(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let mut fields = [EMPTY_HEADER; LIMITS.max_fields];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(Status::Complete(length)) = request.parse(bytes) else {
            panic!("no complete head: {:?}", bytes.escape_ascii());
        };
        let values = |name: &str| -> Vec<&[u8]> {
            let named = request
                .headers
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "framed twice");
        assert!(values("host").len() <= 1, "more than one Host");
        assert!(request.version == Some(0) || values("host").len() == 1, "no Host");
        bytes = &bytes[length..];
        if let [length] = lengths[..] {
            let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
            let Some(rest) = bytes.get(length..) else {
                return false;
            };
            bytes = rest;
        } else if let [coding] = codings[..] {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            let Some(rest) = behind_chunks(bytes) else {
                return false;
            };
            bytes = rest;
        }
    }
    true
}

/// What follows a chunked body; `None` if it is not complete.
fn behind_chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let Ok(status) = httparse::parse_chunk_size(bytes) else {
            panic!("no chunk: {:?}", bytes.escape_ascii());
        };
        let Status::Complete((line, size)) = status else {
            return None;
        };
        bytes = &bytes[line..];
        if size == 0 {
            break;
        }
        bytes = bytes.get(usize::try_from(size).unwrap()..)?;
        if bytes.len() < 2 {
            return None;
        }
        assert_eq!(&bytes[..2], b"\r\n", "a chunk ends elsewhere");
        bytes = &bytes[2..];
    }
    let mut fields = [EMPTY_HEADER; LIMITS.max_fields];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(Status::Complete((length, _))) => Some(&bytes[length..]),
        Ok(Status::Partial) => None,
        Err(error) => panic!("no trailers: {error}: {:?}", bytes.escape_ascii()),
    }
}
