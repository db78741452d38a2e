//! Requests that are malformed or ambiguous, sent through two nodes by clients that write what they like, to a server
//! that notes every request as other libraries read it. Each gets the answer that its table says, and nothing reaches the
//! server in another reading than the mesh's.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]
#![expect(clippy::expect_used, reason = "a table that is not read is a test that fails")]

use mesh_e2e::report;
use mesh_e2e::turns::Turns;

#[path = "hardening/http1.rs"]
mod http1;
#[path = "hardening/http2.rs"]
mod http2;
#[path = "hardening/lab.rs"]
mod lab;
#[path = "hardening/table.rs"]
mod table;

use lab::Lab;
use table::{Http1, Http2};

static LAB: Turns<Lab> = Turns::new(Lab::open);

#[test]
fn http1_has_one_reading() {
    let lab = LAB.take();
    let table = Http1::read();
    let failed: Vec<String> = table
        .case
        .iter()
        .filter_map(|case| {
            http1::check(&lab, case)
                .err()
                .map(|error| format!("{}: {error:#}", case.name))
        })
        .collect();
    let engine = table.case.iter().filter(|case| case.engine).count();
    report!(
        "{} requests of HTTP/1, {engine} of them for the request engine to judge",
        table.case.len()
    );
    assert!(
        failed.is_empty(),
        "{} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn http2_has_one_reading_for_a_server_of_http1() {
    http2(lab::HTTP1);
}

#[test]
fn http2_has_one_reading_for_a_server_of_http2() {
    http2(lab::HTTP2);
}

fn http2(port: u16) {
    let lab = LAB.take();
    let table = Http2::read();
    let met = http2::meet(&lab, port, &table).unwrap();
    let failed: Vec<String> = table
        .case
        .iter()
        .zip(&met)
        .filter_map(|(case, met)| {
            http2::check(&lab, case, met)
                .err()
                .map(|error| format!("{}: {error:#}", case.name))
        })
        .collect();
    let engine = table.case.iter().filter(|case| case.engine).count();
    report!(
        "{} connections of HTTP/2, {engine} of them for the request engine to judge",
        table.case.len()
    );
    assert!(
        failed.is_empty(),
        "{} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_tables_are_large_enough() {
    let (http1, http2) = (Http1::read().case.len(), Http2::read().case.len());
    assert!(http1 >= 200 && http2 >= 130, "{http1} and {http2}");
}
