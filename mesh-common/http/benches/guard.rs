//! What the guards cost: they look at every byte of a head and every frame before the parsers do.

#![expect(clippy::expect_used, reason = "what is measured is known to pass")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mesh_http::guard::{h1, h2};

const LIMITS: h1::Limits = h1::Limits {
    max_head_bytes: 61_440,
    max_fields: 100,
};

/// What a browser sends, with a cookie.
fn browser() -> String {
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    format!(
        "GET /shop/items/42?page=2&sort=price HTTP/1.1\r\nHost: web.shop.svc.cluster.local:8080\r\nUser-Agent: {agent}\r\n\
         Accept: {accept}\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Connection: keep-alive\r\nCookie: session={}\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i\r\n\r\n",
        "0123456789abcdef".repeat(16)
    )
}

fn chunked(size: usize) -> Vec<u8> {
    let mut body = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65_536 / size {
        body.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        body.resize(body.len() + size, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

fn http1(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1");
    group
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1));
    let cases = [
        ("least", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("browser", browser().into_bytes()),
        ("chunks of 16 KiB", chunked(16_384)),
        ("chunks of 16 bytes", chunked(16)),
    ];
    for (name, bytes) in &cases {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), bytes, |bencher, bytes| {
            let mut guard = h1::Guard::new(LIMITS);
            bencher.iter(|| {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let released = guard.release(black_box(rest)).expect("it is a request");
                    rest = &rest[released.count..];
                }
            });
        });
    }
    group.finish();
}

fn http2(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http2");
    group
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1));
    let mut opened = h2::Guard::default();
    opened
        .read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .expect("a preface");
    // HEADERS of 60 bytes, DATA of 1,000.
    let mut request = b"\0\0\x3c\x01\x04\0\0\0\x01".to_vec();
    request.resize(request.len() + 60, 0);
    request.extend_from_slice(b"\0\x03\xe8\0\x01\0\0\0\x01");
    request.resize(request.len() + 1000, 0);
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("a request", |bencher| {
        bencher.iter(|| opened.read(black_box(&request)).expect("it is a request"));
    });
    group.finish();
}

criterion_group!(benches, http1, http2);
criterion_main!(benches);
