//! Gateway API's conformance tests of matching, for a Service as parent, each under its own name; with requests of our own
//! where they look away.

use super::*;

#[test]
fn mesh_http_route_matching() {
    let table = table(&[
        &[prefix("/"), header("version", "one")],
        &[prefix("/v2"), header("version", "two")],
    ]);
    check(
        &table,
        &[
            ("/", &[], Some(0)),
            ("/example", &[], Some(0)),
            ("/", &[("version", "one")], Some(0)),
            ("/v2", &[], Some(1)),
            ("/v2example", &[], Some(0)),
            ("/foo/v2/example", &[], Some(0)),
            ("/", &[("version", "two")], Some(1)),
            ("/v2/", &[], Some(1)),
            ("/v2/example", &[], Some(1)),
            ("/v2", &[("version", "one")], Some(1)),
        ],
    );
}

#[test]
fn http_route_path_match_order() {
    let table = table(&[
        &[prefix("/match/prefix/one")],
        &[prefix("/match/")],
        &[prefix("/match/prefix/")],
        &[exact("/match/exact/one")],
        &[exact("/match/exact")],
        &[exact("/match")],
    ]);
    check(
        &table,
        &[
            ("/match/exact/one", &[], Some(3)),
            ("/match/exact", &[], Some(4)),
            ("/match", &[], Some(5)),
            ("/match/prefix/one/any", &[], Some(0)),
            ("/match/prefix/any", &[], Some(2)),
            ("/match/any", &[], Some(1)),
            ("/matching", &[], None),
        ],
    );
}

#[test]
fn http_route_exact_path_matching() {
    let table = table(&[&[exact("/one")], &[exact("/two")]]);
    check(
        &table,
        &[
            ("/one", &[], Some(0)),
            ("/two", &[], Some(1)),
            ("/two?x=1", &[], Some(1)),
            ("/", &[], None),
            ("/one/example", &[], None),
            ("/two/", &[], None),
            ("/Two", &[], None),
        ],
    );
}

#[test]
fn http_route_header_matching() {
    let color = |color: &str| value("color", color);
    let table = table(&[
        &[with_headers(&[value("version", "one")], prefix("/"))],
        &[with_headers(&[value("version", "two")], prefix("/"))],
        &[with_headers(
            &[value("version", "two"), color("orange")],
            prefix("/"),
        )],
        &[
            with_headers(&[color("blue")], prefix("/")),
            with_headers(&[color("green")], prefix("/")),
        ],
        &[with_headers(&[color("red")], prefix("/"))],
        &[with_headers(&[color("yellow")], prefix("/"))],
    ]);
    check(
        &table,
        &[
            ("/", &[("version", "one")], Some(0)),
            ("/", &[("Version", "two")], Some(1)),
            ("/", &[("version", "two"), ("color", "orange")], Some(2)),
            ("/", &[("color", "orange")], None),
            ("/", &[("version", "three")], None),
            ("/", &[("version", "One")], None),
            ("/", &[("color", "purple")], None),
            ("/", &[("color", "blue")], Some(3)),
            ("/", &[("color", "green")], Some(3)),
            ("/", &[("color", "red")], Some(4)),
            ("/", &[("color", "yellow")], Some(5)),
            ("/", &[("color", "red"), ("version", "one")], Some(0)),
            ("/", &[("some-other-header", "one")], None),
        ],
    );
}

#[test]
fn http_route_query_param_matching() {
    let animal = |animal: &str| value("animal", animal);
    let table = table(&[
        &[with_query(&[animal("whale")], prefix("/"))],
        &[with_query(&[animal("dolphin")], prefix("/"))],
        &[with_query(
            &[animal("dolphin"), value("color", "blue")],
            prefix("/"),
        )],
        &[
            with_query(&[animal("Dolphin")], prefix("/path1")),
            with_query(
                &[animal("Shark")],
                with_headers(&[value("version", "one")], prefix("/")),
            ),
        ],
        &[prefix("/path5")],
        &[with_query(&[animal("hydra")], prefix("/"))],
    ]);
    check(
        &table,
        &[
            ("/?animal=whale", &[], Some(0)),
            ("/?animal=dolphin", &[], Some(1)),
            ("/?animal=whale&otherparam=irrelevant", &[], Some(0)),
            ("/?animal=dolphin&color=yellow", &[], Some(1)),
            ("/?animal=dolphin&color=blue", &[], Some(2)),
            ("/?color=blue", &[], None),
            ("/?animal=dog", &[], None),
            ("/?animal=whaledolphin", &[], None),
            ("/", &[], None),
            ("/path1?animal=Dolphin", &[], Some(3)),
            ("/path4?animal=hydra", &[], Some(5)),
            ("/path5?animal=hydra", &[], Some(4)),
            ("/?animal=Shark", &[("version", "one")], Some(3)),
            ("/?animal=whale&animal=dolphin", &[], Some(0)),
            ("/?ANIMAL=whale", &[], None),
            ("/?%61nimal=whal%65", &[], Some(0)),
        ],
    );
}

#[test]
fn http_route_method_matching() {
    let get = |wanted| with_method("GET", wanted);
    let table = table(&[
        &[with_method("POST", prefix("/"))],
        &[get(prefix("/"))],
        &[get(prefix("/path1"))],
        &[with_headers(
            &[value("version", "one")],
            with_method("PUT", prefix("/")),
        )],
        &[with_headers(
            &[value("version", "two")],
            with_method("POST", prefix("/path2")),
        )],
        &[prefix("/path3")],
        &[with_headers(&[value("version", "four")], get(prefix("/path4")))],
        &[prefix("/path5")],
        &[with_headers(&[value("version", "five")], prefix("/"))],
    ]);
    let find = |method, path, version: Option<&str>| {
        let version: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
        table
            .find(&request(method, path, &version))
            .map(|matched| *matched.payload)
    };
    for (method, path, version, expected) in [
        ("POST", "/", None, Some(0)),
        ("GET", "/", None, Some(1)),
        ("GET", "/path1", None, Some(2)),
        ("PUT", "/", Some("one"), Some(3)),
        ("POST", "/path2", Some("two"), Some(4)),
        ("HEAD", "/", None, None),
        ("PUT", "/", None, None),
        ("get", "/", None, None),
        ("DELETE", "/path3", None, Some(5)),
        ("PATCH", "/path5", Some("five"), Some(7)),
        ("GET", "/", Some("five"), Some(1)),
        ("DELETE", "/", Some("five"), Some(8)),
    ] {
        assert_eq!(
            find(method, path, version),
            expected,
            "{method} {path} {version:?}"
        );
    }
}
