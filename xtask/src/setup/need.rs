//! What a purpose needs of the system, and how to see whether it is there.

use std::path::Path;

use super::Purpose;
use crate::command;

/// Something that is missing.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) what: String,
    pub(super) why: &'static str,
    /// Sets of packages that give it; the first that the distribution has is installed.
    pub(super) packages: Vec<Vec<String>>,
    /// A command for where there is no such package.
    pub(super) otherwise: Option<String>,
}

/// A program that must be found, and what gives it.
struct Program {
    name: &'static str,
    why: &'static str,
    purpose: Purpose,
    /// Whether the bench needs it beside that.
    is_for_bench: bool,
    packages: &'static [&'static [&'static str]],
}

const PROGRAMS: &[Program] = &[
    program(
        "cc",
        "compiles the TLS library",
        Purpose::Build,
        &[&["gcc", "libc6-dev"]],
    ),
    program("make", "compiles the allocator", Purpose::Build, &[&["make"]]),
    program(
        "ip",
        "makes links between namespaces",
        Purpose::Run,
        &[&["iproute2"]],
    ),
    program(
        "nsenter",
        "starts programs inside namespaces",
        Purpose::Run,
        &[&["util-linux"]],
    ),
    program("c++", "compiles the fuzzer", Purpose::Test, &[&["g++"]]),
    program("curl", "a client for the tests", Purpose::Test, &[&["curl"]]).and_bench(),
    program("wrk", "load for the tests", Purpose::Test, &[&["wrk"]]).and_bench(),
    program(
        "h2load",
        "load over HTTP/2 for the tests",
        Purpose::Test,
        &[&["nghttp2-client"]],
    )
    .and_bench(),
    program(
        "node",
        "servers and clients of HTTP for the tests",
        Purpose::Test,
        &[&["nodejs"]],
    ),
    program(
        "nginx",
        "a server for the tests",
        Purpose::Test,
        &[&["nginx-light"], &["nginx"]],
    )
    .and_bench(),
    program(
        "redis-server",
        "a server for the tests",
        Purpose::Test,
        &[&["redis-server"]],
    ),
    program(
        "redis-cli",
        "a client for the tests",
        Purpose::Test,
        &[&["redis-tools"]],
    ),
    program(
        "postgres",
        "a server for the tests",
        Purpose::Test,
        &[&["postgresql"]],
    ),
    program(
        "psql",
        "a client for the tests",
        Purpose::Test,
        &[&["postgresql-client"]],
    ),
    program(
        "mariadbd",
        "a server that speaks first, for the tests",
        Purpose::Test,
        &[&["mariadb-server-core"], &["mariadb-server"]],
    ),
    program(
        "mariadb",
        "a client for the tests",
        Purpose::Test,
        &[&["mariadb-client-core"], &["mariadb-client"]],
    ),
    program(
        "aiosmtpd",
        "a server that speaks first, for the tests",
        Purpose::Test,
        &[&["python3-aiosmtpd"]],
    ),
    program(
        "sshd",
        "a server that speaks first, for the tests",
        Purpose::Test,
        &[&["openssh-server"]],
    ),
    program(
        "ssh",
        "a client for the tests",
        Purpose::Test,
        &[&["openssh-client"]],
    ),
    program(
        "prometheus",
        "scrapes the metrics in the tests",
        Purpose::Test,
        &[&["prometheus"]],
    ),
    program(
        "openssl",
        "makes the certificates that must be refused",
        Purpose::Test,
        &[&["openssl"]],
    ),
    program(
        "bpftool",
        "shows what the kernel holds of ours",
        Purpose::Test,
        &[&["bpftool"], &["linux-tools-common", "linux-tools-generic"]],
    ),
    program(
        "tcpdump",
        "watches the link between nodes",
        Purpose::Test,
        &[&["tcpdump"]],
    ),
    program(
        "valgrind",
        "counts the instructions of a request",
        Purpose::Test,
        &[&["valgrind"]],
    ),
    program(
        "qemu-system-x86_64",
        "boots older kernels",
        Purpose::Test,
        &[&["qemu-system-x86"]],
    ),
    program(
        "busybox",
        "the user space under older kernels",
        Purpose::Test,
        &[&["busybox-static"]],
    ),
    program(
        "cpio",
        "packs the initramfs of older kernels",
        Purpose::Test,
        &[&["cpio"]],
    ),
    program(
        "protoc",
        "checks the generated code",
        Purpose::Test,
        &[&["protobuf-compiler"]],
    ),
    program("iperf3", "bulk for the bench", Purpose::Bench, &[&["iperf3"]]),
    program(
        "python3",
        "installs Envoy for the bench",
        Purpose::Bench,
        &[&["python3", "python3-venv"]],
    ),
    program(
        "perf",
        "profiles for the bench",
        Purpose::Bench,
        &[&["linux-perf"], &["linux-tools-common", "linux-tools-generic"]],
    ),
];

/// Files that must be there, why, and the package that gives each.
const FILES: [(&str, &str, &str); 5] = [
    // protoc's own definitions, which `cargo xtask gen` needs and Debian packs by themselves.
    (
        "/usr/include/google/protobuf/any.proto",
        "checks the generated code",
        "libprotobuf-dev",
    ),
    (
        "/usr/lib/python3/dist-packages/h2/__init__.py",
        "a tunnel client of other making for the tests",
        "python3-h2",
    ),
    (
        "/usr/lib/python3/dist-packages/h11/__init__.py",
        "a server's reader of HTTP/1 for the tests",
        "python3-h11",
    ),
    (
        "/usr/lib/python3/dist-packages/grpc/__init__.py",
        "a gRPC client and server for the tests",
        "python3-grpcio",
    ),
    (
        "/usr/lib/python3/dist-packages/websockets/__init__.py",
        "a WebSocket client and server for the tests",
        "python3-websockets",
    ),
];

const fn program(
    name: &'static str,
    why: &'static str,
    purpose: Purpose,
    packages: &'static [&'static [&'static str]],
) -> Program {
    Program {
        name,
        why,
        purpose,
        is_for_bench: false,
        packages,
    }
}

impl Program {
    const fn and_bench(mut self) -> Self {
        self.is_for_bench = true;
        self
    }

    fn is_for(&self, purpose: Purpose) -> bool {
        purpose.includes(self.purpose) || (self.is_for_bench && purpose == Purpose::Bench)
    }
}

/// What `purpose` needs and is not there, the compiler of the kernel programs apart.
pub(super) fn missing(purpose: Purpose) -> Vec<Need> {
    let mut needs: Vec<Need> = PROGRAMS
        .iter()
        .filter(|program| program.is_for(purpose) && command::find(program.name).is_none())
        .map(|program| Need::new(program.name, program.why, program.packages))
        .collect();
    if purpose == Purpose::Test {
        for (file, why, package) in FILES.iter().filter(|(file, ..)| !Path::new(file).exists()) {
            needs.push(Need::new(*file, why, &[&[package]]));
        }
        for (component, why) in [("fmt", "checks the formatting"), ("clippy", "checks for lints")] {
            if command::output(&mut command::cargo([component, "--version"])).is_none() {
                let name = if component == "fmt" { "rustfmt" } else { component };
                needs.push(Need::new(name, why, &[]).or_else(format!("rustup component add {name}")));
            }
        }
    }
    needs
}

impl Need {
    pub(super) fn new(what: impl Into<String>, why: &'static str, packages: &[&[&str]]) -> Self {
        let packages = packages
            .iter()
            .map(|set| set.iter().map(|&package| package.to_owned()).collect())
            .collect();
        Self {
            what: what.into(),
            why,
            packages,
            otherwise: None,
        }
    }

    pub(super) fn or_else(mut self, command: impl Into<String>) -> Self {
        self.otherwise = Some(command.into());
        self
    }

    /// The packages of the first set, as words of a command.
    pub(super) fn preferred_packages(&self) -> Option<String> {
        self.packages.first().map(|set| set.join(" "))
    }
}
