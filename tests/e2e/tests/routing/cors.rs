//! Cross-origin requests: what the proxy answers itself, and what it adds to the backend's answers.

use mesh_e2e::case::{Case, get};
use mesh_e2e::routes::Route;

use crate::HALL;

const RULES: &str = "
- matches: [ { path: { type: PathPrefix, value: /listed } } ]
  filters:
  - type: CORS
    cors:
      allowOrigins: [ 'https://www.foo.com', 'https://*.bar.com' ]
      allowMethods: [ GET, PUT ]
      allowHeaders: [ x-header-1, X-Header-2 ]
      exposeHeaders: [ x-header-3, x-header-4 ]
      allowCredentials: true
      maxAge: 3600
  backendRefs: [ { name: echo-v1, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /any-method } } ]
  filters: [ { type: CORS, cors: { allowOrigins: [ 'https://www.foo.com' ], allowMethods: [ '*' ], allowHeaders: [ '*' ] } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /any-origin } } ]
  filters: [ { type: CORS, cors: { allowOrigins: [ '*' ], allowMethods: [ PUT ] } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
- matches: [ { path: { type: PathPrefix, value: /credentials } } ]
  filters: [ { type: CORS, cors: { allowOrigins: [ '*' ], allowMethods: [ '*' ], allowHeaders: [ '*' ], exposeHeaders: [ '*' ], allowCredentials: true } } ]
  backendRefs: [ { name: echo-v1, port: 8080 } ]
";

/// A preflight request, as a browser makes it (Fetch §4.8).
fn preflight(path: &str, origin: &str, method: &str, headers: &str) -> Case {
    let case = get(path).method("OPTIONS").with(&format!("Origin: {origin}"));
    let case = case.with(&format!("Access-Control-Request-Method: {method}"));
    if headers.is_empty() {
        case
    } else {
        case.with(&format!("Access-Control-Request-Headers: {headers}"))
    }
}

fn allowed(case: Case, origin: &str) -> Case {
    case.is_one_of(&[200, 204])
        .has("access-control-allow-origin", origin)
}

fn denied(case: Case) -> Case {
    case.is_one_of(&[200, 204, 403])
        .lacks("access-control-allow-origin")
        .lacks("access-control-allow-credentials")
}

#[test]
fn cross_origin_requests_are_allowed_as_the_route_says() {
    let mut hall = HALL.take();
    let target = hall.service("cors").unwrap();
    hall.routes(&[Route::http("cors").parent("cors").rules(RULES)])
        .unwrap();
    let listed = |origin: &str| {
        allowed(
            preflight("/listed", origin, "GET", "x-header-1, x-header-2"),
            origin,
        )
        .has_list("access-control-allow-methods", &["GET", "PUT"])
        .has_list("access-control-allow-headers", &["x-header-1", "x-header-2"])
        .has("access-control-max-age", "3600")
        .has("access-control-allow-credentials", "true")
        .has_in("vary", "origin")
    };
    let simple = |path: &str, origin: &str| get(path).with(&format!("Origin: {origin}")).reaches("echo-v1");
    let cases = [
        // Preflight requests are answered by the proxy.
        listed("https://www.foo.com"),
        listed("https://www.bar.com"),
        listed("https://xpto.www.bar.com"),
        denied(preflight("/listed", "https://foobar.com", "GET", "")),
        denied(preflight("/listed", "http://www.foo.com", "GET", "")),
        denied(preflight("/listed", "https://www.foo.com:8443", "GET", "")),
        denied(preflight(
            "/listed",
            "https://www.foo.com.evil.example",
            "GET",
            "",
        )),
        denied(preflight("/listed", "https://evilbar.com", "GET", "")),
        denied(preflight("/listed", "https://bar.com", "GET", "")),
        denied(preflight("/listed", "null", "GET", "")),
        // Other requests go to the backend, and the answer says who may read it.
        simple("/listed", "https://www.foo.com")
            .has("access-control-allow-origin", "https://www.foo.com")
            .has("access-control-allow-credentials", "true")
            .has_list("access-control-expose-headers", &["x-header-3", "x-header-4"])
            .has_in("vary", "origin"),
        simple("/listed", "https://a.bar.com").has("access-control-allow-origin", "https://a.bar.com"),
        simple("/listed", "https://foobar.com")
            .lacks("access-control-allow-origin")
            .lacks("access-control-expose-headers"),
        get("/listed")
            .reaches("echo-v1")
            .lacks("access-control-allow-origin"),
        // The backend's own word does not stand beside the route's.
        simple("/listed", "https://www.foo.com")
            .with("X-Answer: Access-Control-Allow-Origin: https://theirs.example")
            .has("access-control-allow-origin", "https://www.foo.com"),
        // OPTIONS that is no preflight is the backend's.
        get("/listed").method("OPTIONS").reaches("echo-v1"),
        simple("/listed", "https://www.foo.com")
            .method("OPTIONS")
            .reaches("echo-v1"),
        // Any method: the one that was asked for.
        allowed(
            preflight("/any-method", "https://www.foo.com", "POST", "x-a, x-b"),
            "https://www.foo.com",
        )
        .has_one_of("access-control-allow-methods", &["POST", "*"])
        .has_list("access-control-allow-headers", &["x-a", "x-b"])
        .has("access-control-max-age", "5")
        .lacks("access-control-allow-credentials"),
        // Any origin: a star or the one that asked.
        preflight("/any-origin", "https://foobar.com:12345", "PUT", "")
            .is_one_of(&[200, 204])
            .has_one_of("access-control-allow-origin", &["*", "https://foobar.com:12345"])
            .has("access-control-allow-methods", "PUT")
            .lacks("access-control-allow-credentials"),
        simple("/any-origin", "https://foobar.com:12345")
            .method("PUT")
            .has_one_of("access-control-allow-origin", &["*", "https://foobar.com:12345"])
            .lacks("access-control-allow-credentials"),
        // With credentials a star would mean nothing (Fetch §3.3.5): the request's own values stand in its place.
        allowed(
            preflight("/credentials", "https://any.example", "DELETE", "x-own"),
            "https://any.example",
        )
        .has("access-control-allow-methods", "DELETE")
        .has("access-control-allow-headers", "x-own")
        .has("access-control-allow-credentials", "true"),
        simple("/credentials", "https://any.example")
            .has("access-control-allow-origin", "https://any.example")
            .has("access-control-allow-credentials", "true"),
    ];
    hall.check(&target, &cases).unwrap();
}
