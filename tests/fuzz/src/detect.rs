//! Detection: a decision stands, whatever comes behind it, and there is always one in the end.

use mesh_http::detect::{Detected, MAX_LOOK, detect, is_http2};

/// The bytes are the beginning of a connection.
pub fn check(bytes: &[u8]) {
    let whole = detect(bytes);
    if let Detected::Tls {
        server_name: Some(name),
        ..
    } = &whole
    {
        assert!(!name.is_empty() && name.len() <= 255, "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()),
            "{name}"
        );
    }
    assert_eq!(is_http2(bytes) == Some(true), whole == Detected::Http2);
    // All beginnings of a short one; of a long one, as they may come.
    let step = bytes.len() / 256 + 1;
    let mut decided = None;
    for length in (0..bytes.len()).step_by(step) {
        let now = detect(&bytes[..length]);
        match &decided {
            Some(before) => assert_eq!(&now, before, "after {length} bytes"),
            None if now != Detected::NeedMore => decided = Some(now),
            None => {}
        }
    }
    if let Some(before) = decided {
        assert_eq!(whole, before);
    }
    let mut long = bytes.to_vec();
    long.resize(
        MAX_LOOK.max(bytes.len()),
        bytes.last().copied().unwrap_or_default(),
    );
    assert_ne!(detect(&long), Detected::NeedMore);
}
