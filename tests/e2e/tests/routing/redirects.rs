//! Redirects: each part of the Location, which clients see, and the status.

use mesh_e2e::case::get;
use mesh_e2e::routes::Route;

use crate::HALL;

/// A rule that answers requests below a path with a redirect.
fn redirect(path: &str, fields: &str) -> String {
    format!(
        "- matches: [ {{ path: {{ type: PathPrefix, value: {path} }} }} ]\n  filters:\n  \
         - {{ type: RequestRedirect, requestRedirect: {{ {fields} }} }}\n"
    )
}

#[test]
fn the_host_and_the_status_are_changed() {
    let mut hall = HALL.take();
    let target = hall.service("to-host").unwrap();
    let rules = [
        redirect("/host", "hostname: example.org"),
        redirect("/status", "hostname: example.org, statusCode: 301"),
    ];
    hall.routes(&[Route::http("to-host").parent("to-host").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/host").redirects(302, "http://example.org/host"),
        get("/host/more?a=b&c").redirects(302, "http://example.org/host/more?a=b&c"),
        get("/status").redirects(301, "http://example.org/status"),
        get("/host")
            .method("POST")
            .body("text")
            .redirects(302, "http://example.org/host"),
        get("/host").http2().redirects(302, "http://example.org/host"),
        // The port that was asked for stays.
        get("/host")
            .port(8080)
            .redirects(302, "http://example.org:8080/host"),
        get("/other").fails(404, "NR"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_redirect_to_the_same_place_is_one_all_the_same() {
    let mut hall = HALL.take();
    let target = hall.service("to-itself").unwrap();
    let rules: Vec<String> = [301, 302, 303, 307, 308]
        .iter()
        .map(|status| redirect(&format!("/{status}"), &format!("statusCode: {status}")))
        .collect();
    hall.routes(&[Route::http("to-itself")
        .parent("to-itself")
        .rules(&rules.concat())])
        .unwrap();
    let cases: Vec<_> = [301, 302, 303, 307, 308]
        .iter()
        .map(|&status| {
            let path = format!("/{status}/path?query");
            get(&path).redirects(status, &format!("http://to-itself.mesh{path}"))
        })
        .collect();
    hall.check(&target, &cases).unwrap();
}

#[test]
fn the_scheme_brings_its_own_port() {
    let mut hall = HALL.take();
    let target = hall.service("to-scheme").unwrap();
    let rules = [
        redirect("/scheme", "scheme: https"),
        redirect("/and-host", "scheme: https, hostname: example.org"),
        redirect("/and-status", "scheme: https, statusCode: 301"),
        redirect(
            "/and-both",
            "scheme: https, hostname: example.org, statusCode: 302",
        ),
        redirect("/plain", "scheme: http"),
        redirect("/and-port", "scheme: https, port: 8443"),
        redirect("/its-own-port", "scheme: https, port: 443"),
        redirect("/the-others-port", "scheme: https, port: 80"),
    ];
    hall.routes(&[Route::http("to-scheme")
        .parent("to-scheme")
        .rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/scheme?a").redirects(302, "https://to-scheme.mesh/scheme?a"),
        get("/and-host").redirects(302, "https://example.org/and-host"),
        get("/and-status").redirects(301, "https://to-scheme.mesh/and-status"),
        get("/and-both").redirects(302, "https://example.org/and-both"),
        get("/scheme")
            .port(8080)
            .redirects(302, "https://to-scheme.mesh/scheme"),
        get("/plain")
            .port(8080)
            .redirects(302, "http://to-scheme.mesh/plain"),
        get("/plain").redirects(302, "http://to-scheme.mesh/plain"),
        get("/and-port").redirects(302, "https://to-scheme.mesh:8443/and-port"),
        get("/its-own-port").redirects(302, "https://to-scheme.mesh/its-own-port"),
        get("/the-others-port").redirects(302, "https://to-scheme.mesh:80/the-others-port"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn the_port_is_left_out_where_it_is_the_schemes_own() {
    let mut hall = HALL.take();
    let target = hall.service("to-port").unwrap();
    let rules = [
        redirect("/port", "port: 8083"),
        redirect("/and-host", "port: 8083, hostname: example.org"),
        redirect("/and-status", "port: 8083, statusCode: 301"),
        redirect("/eighty", "port: 80"),
        redirect("/https-port", "port: 443"),
    ];
    hall.routes(&[Route::http("to-port").parent("to-port").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/port").redirects(302, "http://to-port.mesh:8083/port"),
        get("/port")
            .port(8080)
            .redirects(302, "http://to-port.mesh:8083/port"),
        get("/and-host").redirects(302, "http://example.org:8083/and-host"),
        get("/and-status").redirects(301, "http://to-port.mesh:8083/and-status"),
        get("/eighty")
            .port(8080)
            .redirects(302, "http://to-port.mesh/eighty"),
        get("/https-port").redirects(302, "http://to-port.mesh:443/https-port"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn the_path_is_replaced_whole_or_at_its_beginning() {
    let mut hall = HALL.take();
    let target = hall.service("to-path").unwrap();
    let prefix = |value: &str| format!("path: {{ type: ReplacePrefixMatch, replacePrefixMatch: {value} }}");
    let full = |value: &str| format!("path: {{ type: ReplaceFullPath, replaceFullPath: {value} }}");
    let rules = [
        redirect("/original-prefix", &prefix("/replacement-prefix")),
        redirect("/full", &full("/full-path-replacement")),
        redirect(
            "/prefix-and-host",
            &format!("hostname: example.org, {}", prefix("/replacement-prefix")),
        ),
        redirect(
            "/prefix-and-status",
            &format!("statusCode: 301, {}", prefix("/replacement-prefix")),
        ),
        redirect(
            "/full-and-host",
            &format!("hostname: example.org, {}", full("/replacement")),
        ),
        redirect(
            "/full-and-status",
            &format!("statusCode: 301, {}", full("/replacement")),
        ),
        redirect("/strip", &prefix("/")),
    ];
    hall.routes(&[Route::http("to-path").parent("to-path").rules(&rules.concat())])
        .unwrap();
    let cases = [
        get("/original-prefix/lemon").redirects(302, "http://to-path.mesh/replacement-prefix/lemon"),
        get("/original-prefix").redirects(302, "http://to-path.mesh/replacement-prefix"),
        get("/original-prefix/?q=1").redirects(302, "http://to-path.mesh/replacement-prefix/?q=1"),
        get("/full/path/original").redirects(302, "http://to-path.mesh/full-path-replacement"),
        get("/full?q=1").redirects(302, "http://to-path.mesh/full-path-replacement?q=1"),
        get("/prefix-and-host/lemon").redirects(302, "http://example.org/replacement-prefix/lemon"),
        get("/prefix-and-status/lemon").redirects(301, "http://to-path.mesh/replacement-prefix/lemon"),
        get("/full-and-host/lemon").redirects(302, "http://example.org/replacement"),
        get("/full-and-status/lemon").redirects(301, "http://to-path.mesh/replacement"),
        get("/strip/lemon").redirects(302, "http://to-path.mesh/lemon"),
        get("/strip").redirects(302, "http://to-path.mesh/"),
    ];
    hall.check(&target, &cases).unwrap();
}

#[test]
fn a_backends_own_filter_redirects_its_share() {
    let mut hall = HALL.take();
    let target = hall.service("backend-redirect").unwrap();
    let rules = "
- matches: [ { path: { type: PathPrefix, value: /away } } ]
  backendRefs:
  - name: echo-v1
    port: 8080
    filters: [ { type: RequestRedirect, requestRedirect: { hostname: example.org, statusCode: 302 } } ]
- backendRefs: [ { name: echo-v2, port: 8080 } ]
";
    hall.routes(&[Route::http("backend-redirect")
        .parent("backend-redirect")
        .rules(rules)])
        .unwrap();
    let cases = [
        get("/away/x").redirects(302, "http://example.org/away/x"),
        get("/").reaches("echo-v2"),
    ];
    hall.check(&target, &cases).unwrap();
}
