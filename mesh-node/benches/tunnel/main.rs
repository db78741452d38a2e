//! What the tunnel and the relays cost: processor time, in user space and kernel, of the client's node (A) and of the
//! server's (B) for each message, each GiB and each handshake. Each node is a thread of its own, client and
//! application are two others, and all meet on the loopback: a thread's time says what a node costs, and is moved
//! little by what else the machine does. For a comparison run two builds in turn.
//!
//! `cargo bench -p mesh-node --bench tunnel -- [CASE] [ROUNDS]`; cases are `messages`, `down`, `up`, `plain` and
//! `handshakes`, and those beginning with CASE are run.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop, and its tasks end with it"
)]

mod mesh;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mesh_node::hbone::{client, server};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};

use self::mesh::Mesh;
use self::traffic::{Kind, Traffic};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long a round measures, after as long a warm-up.
const ROUND: Duration = Duration::from_millis(700);
/// Bytes of a request and of its answer: a small GET with the headers of a mesh, and 1 KiB with its head.
const MESSAGE: (usize, usize) = (300, 1250);

/// A thread with a runtime.
struct Core {
    handle: Handle,
}

// === impl Core ===

impl Core {
    fn new(name: &str) -> Self {
        let (tell, told) = mpsc::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                tell.send(runtime.handle().clone()).unwrap();
                runtime.block_on(std::future::pending::<()>());
            })
            .unwrap();
        Self {
            handle: told.recv().unwrap(),
        }
    }

    /// What `future` gives, run on this thread.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.handle.spawn(async move {
            tell.send(future.await).ok();
        });
        told.recv().unwrap()
    }

    /// The thread's processor time, in microseconds.
    fn cpu(&self) -> f64 {
        self.run(async {
            let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
            as_f64((usage.user_time() + usage.system_time()).num_microseconds())
        })
    }

    fn listen(&self) -> (TcpListener, SocketAddr) {
        let listener = self.run(async { TcpListener::bind("127.0.0.1:0").await.unwrap() });
        let address = listener.local_addr().unwrap();
        (listener, address)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn as_f64(count: i64) -> f64 {
    count as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A client and an application with nodes in between, and the traffic among them.
fn carried(name: &str, kind: Kind, connections: usize, is_plain: bool, rounds: usize) {
    let (a, b) = (Core::new("A"), Core::new("B"));
    let (users, application) = (Core::new("client"), Core::new("server"));
    let mesh = Arc::new(Mesh::new());
    let traffic = Arc::new(Traffic::new(kind));
    let (listener, to_application) = application.listen();
    application
        .handle
        .spawn(traffic::serve(Arc::clone(&traffic), listener));
    let (listener, to_a) = a.listen();
    if is_plain {
        a.handle
            .spawn(mesh::plain_node(Arc::clone(&mesh), listener, to_application));
    } else {
        let (tunnels, to_b) = b.listen();
        b.handle
            .spawn(mesh::server_node(Arc::clone(&mesh), tunnels, to_application));
        a.handle
            .spawn(mesh::client_node(Arc::clone(&mesh), listener, to_b));
    }
    for _ in 0..connections {
        users.handle.spawn(traffic::drive(Arc::clone(&traffic), to_a));
    }
    thread::sleep(ROUND);
    let mut found: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        let before = (a.cpu(), b.cpu(), traffic.done(), Instant::now());
        thread::sleep(ROUND);
        let units = traffic.done() - before.2;
        let rate = units / before.3.elapsed().as_secs_f64();
        let costs = [(a.cpu() - before.0) / units, (b.cpu() - before.1) / units, rate];
        for (values, value) in found.iter_mut().zip(costs) {
            values.push(value);
        }
    }
    traffic.is_over.store(true, Ordering::Relaxed);
    let [a, b, rate] = found.map(median);
    let unit = traffic.unit();
    println!("{name:<16} A {a:>10.2} µs  B {b:>10.2} µs for each {unit}; {rate:>9.2} {unit}/s");
}

/// Complete tunnels, one after the other, each with TLS and HTTP/2.
fn handshakes(rounds: usize) {
    const COUNT: i64 = 300;
    let (a, b) = (Core::new("A"), Core::new("B"));
    let mesh = Arc::new(Mesh::new());
    let (listener, to_b) = b.listen();
    let (tls, at_b) = (mesh.server_config(), Arc::clone(&mesh));
    b.handle.spawn(async move {
        while let Ok((tcp, peer)) = listener.accept().await {
            drop(server::accept(tcp, peer, Arc::clone(&tls), &at_b.config).await);
        }
    });
    let mut found: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        let before = (a.cpu(), b.cpu());
        let at_a = Arc::clone(&mesh);
        a.run(async move {
            let (key, endpoint) = at_a.to(to_b);
            for _ in 0..COUNT {
                let tls = at_a
                    .tls
                    .client(Arc::clone(&at_a.own), key.expected.clone())
                    .unwrap();
                drop(client::open(&endpoint, tls, &at_a.config).await.unwrap());
            }
        });
        let costs = [a.cpu() - before.0, b.cpu() - before.1];
        if round > 0 {
            for (values, value) in found.iter_mut().zip(costs) {
                values.push(value / as_f64(COUNT));
            }
        }
    }
    let [a, b] = found.map(median);
    println!(
        "{:<16} A {a:>10.2} µs  B {b:>10.2} µs for each handshake",
        "handshakes"
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let wanted = arguments.first().map_or("", String::as_str);
    let rounds = arguments.get(1).map_or(5, |text| text.parse().unwrap());
    let messages = Kind::Messages {
        request: MESSAGE.0,
        answer: MESSAGE.1,
    };
    let cases = [
        ("messages-32", messages, 32, false),
        ("messages-1", messages, 1, false),
        ("down-1", Kind::Down, 1, false),
        ("down-8", Kind::Down, 8, false),
        ("up-1", Kind::Up, 1, false),
        ("up-8", Kind::Up, 8, false),
        ("plain-messages", messages, 32, true),
        ("plain-down", Kind::Down, 1, true),
    ];
    for (name, kind, connections, is_plain) in cases {
        if name.starts_with(wanted) {
            carried(name, kind, connections, is_plain, rounds);
        }
    }
    if "handshakes".starts_with(wanted) {
        handshakes(rounds);
    }
}
