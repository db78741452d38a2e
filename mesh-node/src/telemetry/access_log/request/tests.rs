use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use mesh_model::{Identity, ResourceName, RuleName, TrustDomain};
use serde_json::Value;

use super::*;
use crate::outcome::{Flag, Flags};

/// 2026-03-01T12:00:00.000001Z.
fn moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_772_366_400_000_001)
}

fn line(record: &RequestRecord<'_>, format: LogFormat) -> String {
    let mut buffer = Vec::new();
    write(record, format, moment(), &mut buffer);
    String::from_utf8(buffer).unwrap()
}

fn client() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

#[test]
fn tells_everything_in_either_format() {
    let identity =
        |account| Identity::new(TrustDomain::new("cluster.local").unwrap(), "shop", account).unwrap();
    let name = |name: &str| name.parse::<ResourceName>().unwrap();
    let (source, source_identity) = (name("shop/client"), identity("client"));
    let (service, backend) = (name("shop/web"), name("shop/web-v2"));
    let (destination, destination_identity) = (name("shop/web-v2-1"), identity("web"));
    let route = RuleName {
        route: name("shop/canary"),
        rule: "1".to_owned(),
    };
    let mut flags = Flags::default();
    flags.insert(Flag::UpstreamRequestTimeout);
    flags.insert(Flag::RetryLimitExceeded);
    let record = RequestRecord {
        source: Some(&source),
        source_identity: Some(&source_identity),
        service: Some((&service, 80)),
        route: Some(&route),
        backend: Some((&backend, 8080)),
        destination: Some(&destination),
        destination_identity: Some(&destination_identity),
        endpoint: Some("192.0.2.12:8080".parse().unwrap()),
        transport: "hbone",
        method: "GET",
        authority: "web.shop",
        path: "/cart?token=secret",
        protocol: http::Version::HTTP_2,
        status: Some(504),
        grpc_status: None,
        flags,
        cause: "no answer within 200 ms",
        attempts: 3,
        duration: Duration::from_millis(1250),
        upstream_duration: Some(Duration::from_millis(600)),
        request_bytes: 0,
        response_bytes: 31,
        request_id: "6b2f",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        user_agent: "curl/8",
        ..RequestRecord::from(client())
    };

    let json: Value = serde_json::from_str(&line(&record, LogFormat::Json)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "timestamp": "2026-03-01T12:00:00.000001Z", "level": "WARN", "message": "request failed", "target": "access",
            "workload": "shop/client", "identity": "spiffe://cluster.local/ns/shop/sa/client",
            "source": "192.0.2.1:40000", "method": "GET", "authority": "web.shop", "path": "/cart",
            "protocol": "HTTP/2", "status": 504, "grpc_status": null, "flags": "URX,UT",
            "cause": "no answer within 200 ms", "attempts": 3, "service": "shop/web:80", "route": "shop/canary#1",
            "backend": "shop/web-v2:8080", "endpoint": "192.0.2.12:8080", "peer_workload": "shop/web-v2-1",
            "peer": "spiffe://cluster.local/ns/shop/sa/web", "transport": "hbone", "duration": 1.25,
            "upstream_duration": 0.6, "request_bytes": 0, "response_bytes": 31, "request_id": "6b2f",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "user_agent": "curl/8",
        })
    );
    assert_eq!(
        line(&record, LogFormat::Text),
        "2026-03-01T12:00:00.000001Z  WARN access: request failed workload=shop/client \
         identity=spiffe://cluster.local/ns/shop/sa/client source=192.0.2.1:40000 method=\"GET\" \
         authority=\"web.shop\" path=\"/cart\" protocol=HTTP/2 status=504 grpc_status=- flags=URX,UT \
         cause=\"no answer within 200 ms\" attempts=3 service=shop/web:80 route=shop/canary#1 \
         backend=shop/web-v2:8080 endpoint=192.0.2.12:8080 peer_workload=shop/web-v2-1 \
         peer=spiffe://cluster.local/ns/shop/sa/web transport=hbone duration=1.25 upstream_duration=0.6 \
         request_bytes=0 response_bytes=31 request_id=\"6b2f\" \
         trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\" user_agent=\"curl/8\"\n"
    );
}

#[test]
fn tells_what_little_is_known() {
    let record = RequestRecord::from(client());
    let text = line(&record, LogFormat::Text);
    assert!(
        text.contains(" status=- grpc_status=- flags=- cause=\"\" "),
        "{text}"
    );
    let json: Value = serde_json::from_str(&line(&record, LogFormat::Json)).unwrap();
    assert_eq!(json["endpoint"], Value::Null);
    assert_eq!(json["flags"], "-");
}

#[test]
fn what_clients_send_stays_within_its_field() {
    let evil =
        "\" status=200\r\n2026-03-01T00:00:00Z  INFO access: forged\u{1b}[2J\u{2028}\u{202e}\u{0}\u{7f}\\";
    let record = RequestRecord {
        method: evil,
        authority: evil,
        path: evil,
        user_agent: evil,
        request_id: evil,
        trace_id: evil,
        cause: evil,
        status: Some(404),
        ..RequestRecord::from(client())
    };
    let text = line(&record, LogFormat::Text);
    assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
    assert!(text.ends_with('\n'));
    let body = text.trim_end_matches('\n');
    assert!(!body.contains(char::is_control), "{body:?}");
    assert!(!body.contains(['\u{2028}', '\u{202e}']), "{body:?}");
    // A reader that knows quotes and escapes finds the true status and no other.
    let mut outside = String::new();
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in body.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            _ => outside.push(character),
        }
    }
    assert!(!is_quoted);
    assert_eq!(
        outside.matches("status=").count(),
        2,
        "status and grpc_status: {outside}"
    );
    assert!(outside.contains(" status=404 "), "{outside}");
    assert!(!outside.contains("forged"), "{outside}");

    let json = line(&record, LogFormat::Json);
    assert_eq!(json.matches('\n').count(), 1);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["path"], evil);
    assert_eq!(value["status"], 404);
}

#[test]
fn what_is_long_is_cut_between_characters() {
    let long = "é".repeat(5000);
    let record = RequestRecord {
        method: &long,
        authority: &long,
        path: &long,
        user_agent: &long,
        request_id: &long,
        trace_id: &long,
        cause: &long,
        ..RequestRecord::from(client())
    };
    for format in [LogFormat::Text, LogFormat::Json] {
        let line = line(&record, format);
        assert!(line.len() < 4000, "{} bytes", line.len());
    }
    let json: Value = serde_json::from_str(&line(&record, LogFormat::Json)).unwrap();
    assert_eq!(json["user_agent"], format!("{}…", "é".repeat(128)));
}

#[test]
fn failures_are_what_failed_and_what_the_proxy_did_something_to() {
    let with = |status, grpc_status, flag: Option<Flag>| {
        let mut flags = Flags::default();
        if let Some(flag) = flag {
            flags.insert(flag);
        }
        is_told(&RequestRecord {
            status,
            grpc_status,
            flags,
            ..RequestRecord::from(client())
        })
    };
    assert!(!with(Some(200), None, None));
    assert!(!with(Some(404), None, None), "the application's own answer");
    assert!(!with(Some(200), Some(5), None), "NOT_FOUND is an answer");
    assert!(with(Some(404), None, Some(Flag::NoRoute)));
    assert!(with(Some(500), None, None));
    assert!(with(Some(200), Some(14), None));
    assert!(with(None, None, Some(Flag::DownstreamConnectionTermination)));
    assert!(with(None, None, None));
}

#[test]
fn numbers_are_written_whole() {
    for (duration, text, json) in [
        (Duration::ZERO, "0", "0.0"),
        (Duration::from_secs(12), "12", "12.0"),
        (Duration::from_nanos(1), "0.000000001", "0.000000001"),
        (Duration::from_micros(1_050), "0.00105", "0.00105"),
        (
            Duration::MAX,
            "18446744073709551615.999999999",
            "18446744073709551615.999999999",
        ),
    ] {
        let record = RequestRecord {
            duration,
            request_bytes: u64::MAX,
            endpoint: Some("[2001:db8::1]:443".parse().unwrap()),
            ..RequestRecord::from(client())
        };
        let as_text = line(&record, LogFormat::Text);
        assert!(
            as_text.contains(&format!(" duration={text} upstream_duration=- ")),
            "{as_text}"
        );
        assert!(
            as_text.contains(" request_bytes=18446744073709551615 response_bytes=0 "),
            "{as_text}"
        );
        assert!(as_text.contains(" endpoint=[2001:db8::1]:443 "), "{as_text}");
        let as_json = line(&record, LogFormat::Json);
        assert!(
            as_json.contains(&format!(",\"duration\":{json},\"upstream_duration\":null,")),
            "{as_json}"
        );
        assert!(serde_json::from_str::<Value>(&as_json).is_ok(), "{as_json}");
    }
}

#[test]
fn a_second_is_written_anew_when_it_is_another() {
    let stamp = |micros| {
        let mut buffer = Vec::new();
        let now = UNIX_EPOCH + Duration::from_micros(micros);
        write(&RequestRecord::from(client()), LogFormat::Text, now, &mut buffer);
        String::from_utf8(buffer)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(stamp(1_772_366_400_999_999), "2026-03-01T12:00:00.999999Z");
    assert_eq!(stamp(1_772_366_401_000_000), "2026-03-01T12:00:01.000000Z");
    assert_eq!(stamp(1_772_366_400_000_010), "2026-03-01T12:00:00.000010Z");
    assert_eq!(stamp(0), "1970-01-01T00:00:00.000000Z");
}
