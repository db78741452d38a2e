//! What attempts see of a body that is sent again.

use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::Instant;

use super::*;
use crate::l7::body::Body as AnyBody;
use crate::l7::meter::Meter;
use crate::l7::tee;

fn body(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> AnyBody {
    AnyBody::boxed(StreamBody::new(futures::stream::iter(frames)))
}

#[expect(clippy::unnecessary_wraps, reason = "an element of a body's frames")]
fn data(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn replay(frames: Vec<Result<Frame<Bytes>, BodyError>>, limit: usize) -> (Arc<Mutex<Replay>>, Arc<Meter>) {
    let meter = Arc::new(Meter::new(Instant::now(), true));
    let metered = Metered::new(body(frames), Arc::clone(&meter), Vec::new(), u64::MAX);
    (
        Replay::new(metered, limit, Share::new(&Arc::default(), 100_000)),
        meter,
    )
}

async fn read(outgoing: Outgoing) -> Result<String, BodyError> {
    let collected = outgoing.collect().await?;
    let trailers = collected.trailers().is_some();
    let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
    Ok(text + if trailers { "+trailers" } else { "" })
}

#[tokio::test]
async fn every_attempt_sees_the_whole_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x", "y".parse().unwrap());
    let (replay, meter) = replay(
        vec![data("one"), data("two"), Ok(Frame::trailers(trailers))],
        10_000,
    );
    let mut first = Outgoing::again(&replay);
    let frame = first.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one");
    assert!(replay.lock().can_repeat());
    assert_eq!(read(Outgoing::again(&replay)).await.unwrap(), "onetwo+trailers");
    assert_eq!(
        read(first).await.unwrap(),
        "two+trailers",
        "the first attempt may go on all the same"
    );
    assert_eq!(meter.sent(), 6, "what is sent again is counted once");
    assert!(meter.is_request_read());
}

#[tokio::test]
async fn more_than_is_kept_goes_through_once() {
    let (replay, meter) = replay(vec![data("1234"), data("5678"), data("9")], size_of::<Kept>() + 6);
    let first = Outgoing::again(&replay);
    assert_eq!(read(first).await.unwrap(), "123456789");
    assert!(!replay.lock().can_repeat());
    assert!(
        read(Outgoing::again(&replay)).await.is_err(),
        "another attempt must not see a part"
    );
    assert_eq!(meter.sent(), 9);
}

#[tokio::test]
async fn a_workload_with_much_kept_has_its_next_body_sent_once() {
    let budget = Arc::default();
    let mut others = Share::new(&budget, 10);
    assert!(others.take(8));
    let meter = Arc::new(Meter::new(Instant::now(), true));
    let metered = Metered::new(body(vec![data("one"), data("two")]), meter, Vec::new(), u64::MAX);
    let replay = Replay::new(metered, 10_000, Share::new(&budget, 10));
    assert_eq!(read(Outgoing::again(&replay)).await.unwrap(), "onetwo");
    assert!(!replay.lock().can_repeat());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
    let (replay, meter) = replay(vec![data("one"), Err(BodyError::other("gone"))], 10_000);
    assert!(read(Outgoing::again(&replay)).await.is_err());
    assert!(!replay.lock().can_repeat());
    assert!(read(Outgoing::again(&replay)).await.is_err());
    assert!(!meter.is_request_read());
    assert!(meter.is_broken());
}

#[tokio::test]
async fn a_copy_has_everything_or_breaks_off() {
    let meter = Arc::new(Meter::new(Instant::now(), true));
    let (tee, copy) = tee::channel();
    let metered = Metered::new(
        body(vec![data("one"), data("two")]),
        Arc::clone(&meter),
        vec![tee],
        u64::MAX,
    );
    assert_eq!(read(Outgoing::once(metered)).await.unwrap(), "onetwo");
    assert_eq!(read(Outgoing::copy(copy)).await.unwrap(), "onetwo");

    let (tee, copy) = tee::channel();
    let many = (0..100).map(|_| data("x")).collect();
    let metered = Metered::new(body(many), meter, vec![tee], u64::MAX);
    assert_eq!(
        read(Outgoing::once(metered)).await.unwrap().len(),
        100,
        "the request itself is not held up"
    );
    assert!(read(Outgoing::copy(copy)).await.is_err(), "the copy fell behind");
}

#[tokio::test]
async fn a_body_that_is_too_large_breaks_off() {
    let meter = Arc::new(Meter::new(Instant::now(), true));
    let metered = Metered::new(
        body(vec![data("one"), data("two")]),
        Arc::clone(&meter),
        Vec::new(),
        5,
    );
    assert!(read(Outgoing::once(metered)).await.is_err());
    assert!(meter.is_too_large());
    assert_eq!(meter.sent(), 3);
}

#[tokio::test]
async fn many_small_pieces_count_for_more_than_their_bytes() {
    let pieces = (0..1000).map(|_| data("x")).collect();
    let (replay, _) = replay(pieces, 64 * 1024);
    assert_eq!(read(Outgoing::again(&replay)).await.unwrap().len(), 1000);
    assert!(!replay.lock().can_repeat());
}

#[tokio::test]
async fn trailers_are_the_end_and_a_break_is_the_clients() {
    let (replay, meter) = replay(vec![data("x"), Ok(Frame::trailers(HeaderMap::new()))], 10_000);
    let mut body = Outgoing::again(&replay);
    body.frame().await.unwrap().unwrap();
    assert!(!meter.is_request_read());
    body.frame().await.unwrap().unwrap();
    assert!(meter.is_request_read(), "nobody asks for more after them");
    assert!(!meter.is_broken());
    assert!(body.is_end_stream());
}
