//! The Date of answers that have none (RFC 9110 §6.6.1), made once a second in each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    static NOW: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// The time, as Date has it.
pub(super) fn now() -> HeaderValue {
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(of, date)| {
        if *of != seconds
            && let Ok(fresh) = HeaderValue::try_from(httpdate::fmt_http_date(now))
        {
            (*of, *date) = (seconds, fresh);
        }
        date.clone()
    })
}
