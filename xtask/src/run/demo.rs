//! Who calls whom in the demo, and which examples are in force in it. What runs where is the harness'.

use anyhow::Result;
use mesh_harness::{Process, demo};

/// Where the manifests of the demo itself are, below the workspace's root.
pub(super) const MANIFESTS: &str = "examples/demo";
/// The examples that are in force from the start: folders of examples.
pub(super) const EXAMPLES: [&str; 4] = ["canary", "ab-testing", "retries", "outlier"];
/// Who calls the Services of HTTP: on node-a, whose metrics tell of these calls.
pub(super) const BROWSER: &str = "shop/frontend";

/// A client of bytes and the Service that it calls for as long as the demo runs.
pub(super) struct Call {
    pub(super) client: &'static str,
    pub(super) service: &'static str,
    pub(super) address: &'static str,
    /// How the mesh is to carry it.
    pub(super) transport: &'static str,
    /// One connection for all rounds, instead of one each.
    keep_alive: bool,
}

/// A client of HTTP and what it asks for as long as the demo runs.
pub(super) struct Get {
    pub(super) service: &'static str,
    pub(super) url: &'static str,
    /// A header, or none.
    pub(super) header: Option<&'static str>,
    interval: &'static str,
}

/// Everybody who sends bytes: between nodes, within each, out of a pod and out of a node's own network.
pub(super) const CALLS: [Call; 5] = [
    call("shop/frontend", "shop/catalog", "10.96.0.1:80", "hbone", true),
    call("shop/frontend", "shop/cart", "10.96.0.2:80", "local", true),
    call("shop/cart", "bank/ledger", "[fd00:96::3]:80", "hbone", true),
    call("bank/ledger", "shop/catalog", "10.96.0.1:80", "local", true),
    call("bank/ledger", "shop/cart", "10.96.0.2:80", "hbone", false),
];

/// What is asked for by HTTP. Retries stay below the ten a second that their budget always allows.
pub(super) const GETS: [Get; 5] = [
    get("shop/web", "http://10.96.0.4/", None, "25ms"),
    get("shop/search", "http://10.96.0.7/", None, "100ms"),
    get("shop/search", "http://10.96.0.7/", Some("x-group: b"), "100ms"),
    get("shop/stock", "http://10.96.0.10/", None, "100ms"),
    get("shop/prices", "http://10.96.0.11/", None, "100ms"),
];

/// A running demo. Fields are dropped in this order: the clients first.
pub(super) struct Demo {
    pub(super) callers: Vec<Process>,
    pub(super) browsers: Vec<Process>,
    pub(super) world: demo::Demo,
}

const fn call(
    client: &'static str,
    service: &'static str,
    address: &'static str,
    transport: &'static str,
    keep_alive: bool,
) -> Call {
    Call {
        client,
        service,
        address,
        transport,
        keep_alive,
    }
}

const fn get(
    service: &'static str,
    url: &'static str,
    header: Option<&'static str>,
    interval: &'static str,
) -> Get {
    Get {
        service,
        url,
        header,
        interval,
    }
}

impl Demo {
    /// Brings everything up with the examples in force, and begins to call.
    pub(super) fn start() -> Result<Self> {
        let mut demo = Self {
            callers: Vec::new(),
            browsers: Vec::new(),
            world: demo::Demo::start()?,
        };
        for example in EXAMPLES {
            demo.world.apply(example)?;
        }
        for call in &CALLS {
            let caller = demo.call(call)?;
            demo.callers.push(caller);
        }
        for (number, get) in GETS.iter().enumerate() {
            let browser = demo.get(number, get)?;
            demo.browsers.push(browser);
        }
        Ok(demo)
    }

    fn call(&self, call: &Call) -> Result<Process> {
        let place = &self.world.workload(call.client)?.place;
        // A log of its own for each caller of a workload.
        let name = format!("call-{}", call.service.replace('/', "-"));
        let program = place.program_at(&name, &mesh_harness::binaries::ours("mesh-echo")?);
        let program = program.args(["call", call.address, "--forever"]);
        let program = program.args(["--interval", "100ms", "--size", "4096"]);
        let program = if call.keep_alive {
            program.arg("--keep-alive")
        } else {
            program
        };
        program.spawn()
    }

    fn get(&self, number: usize, get: &Get) -> Result<Process> {
        let place = &self.world.workload(BROWSER)?.place;
        let name = format!("get-{}-{number}", get.service.replace('/', "-"));
        let program = place.program_at(&name, &mesh_harness::binaries::ours("mesh-echo")?);
        let program = program.args(["get", get.url, "--forever", "--interval", get.interval]);
        let header = get.header.into_iter().flat_map(|header| ["--header", header]);
        program.args(header).spawn()
    }
}
