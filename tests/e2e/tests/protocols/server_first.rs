//! Servers that speak first, at ports that nobody declared.

use std::net::SocketAddr;
use std::path::Path;

use mesh_e2e::speakers::MARIADB_USER;
use mesh_e2e::turns::Turn;
use mesh_e2e::{LONG, MOMENT};
use mesh_harness::{Workload, until};

use crate::{WORLD, World};

/// Rounds of a measurement: with and without the mesh by turns, so that both see the same machine.
const ROUNDS: usize = 5;
/// Connections in a round.
const CONNECTIONS: &str = "20";
/// What the mesh may add to a connect, in microseconds.
const MOST_ADDED: u64 = 5_000;

/// The median time until the server's first byte, in microseconds.
fn greeting(from: &Workload, to: SocketAddr) -> u64 {
    let binary = Path::new(env!("CARGO_BIN_EXE_mesh-probe"));
    let probe = from.place.program_at("greeting", binary);
    let run = probe
        .args(["greeting", &to.to_string(), CONNECTIONS])
        .run(LONG)
        .unwrap();
    run.success().unwrap().text().trim().parse().unwrap()
}

/// The median time that the mesh adds until a server's first byte.
fn adds_little(world: &Turn<'_, World>, name: &str) {
    let through = crate::at(name);
    let direct = SocketAddr::new(world.pods[name].v4(), through.port());
    let told = world.told("server_first");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(greeting(&world.client, through));
        without.push(greeting(&world.stranger, direct));
    }
    with.sort_unstable();
    without.sort_unstable();
    let (with, without) = (with[ROUNDS / 2], without[ROUNDS / 2]);
    let added = with.saturating_sub(without);
    mesh_e2e::report!(
        "{name}: first byte after {with} µs through the mesh, {without} µs without: {added} µs added"
    );
    assert!(
        added <= MOST_ADDED,
        "{name}: {with} µs with and {without} µs without the mesh"
    );
    let told = world.told("server_first") - told;
    assert!(told >= 100.0, "the server was heard {told} times");
}

#[test]
fn mariadb_answers_its_client_and_is_as_quick_as_without_the_mesh() {
    let world = WORLD.take();
    let at = crate::at("database");
    let mariadb = world.client.place.program("mariadb").unwrap();
    let mariadb = mariadb.args([
        "--no-defaults",
        "--protocol=tcp",
        "--batch",
        "--skip-column-names",
        "-u",
        MARIADB_USER,
    ]);
    let mariadb = mariadb.args(["-h", &at.ip().to_string(), "-P", &at.port().to_string()]);
    let answer = mariadb
        .args(["-e", "select 6 * 7, @@version_comment"])
        .run(MOMENT)
        .unwrap();
    let answer = answer.success().unwrap().text();
    assert!(answer.starts_with("42\t"), "{answer}");
    adds_little(&world, "database");
}

#[test]
fn a_mail_is_delivered_over_smtp_and_the_server_is_as_quick_as_without_the_mesh() {
    let world = WORLD.take();
    let url = format!("smtp://{}/client.test", crate::at("mail"));
    let curl = world.client.place.program("curl").unwrap();
    let curl = curl.args([
        "-sS",
        "--max-time",
        "10",
        "--mail-from",
        "a@client.test",
        "--mail-rcpt",
        "b@mail.test",
    ]);
    let curl = curl
        .args(["--upload-file", "-", &url])
        .input("Subject: news\r\n\r\nall is well\r\n");
    curl.run(MOMENT).unwrap().success().unwrap();
    let mail = &world.servers["mail"];
    until("the mail to arrive", MOMENT, || {
        Ok(mail.log().contains("all is well").then_some(()))
    })
    .unwrap();
    adds_little(&world, "mail");
}

#[test]
fn a_command_runs_over_ssh_and_the_server_is_as_quick_as_without_the_mesh() {
    let world = WORLD.take();
    let at = crate::at("shell");
    let ssh = world
        .client
        .place
        .program("ssh")
        .unwrap()
        .args(["-F", "none", "-i"])
        .arg(&world.ssh_key);
    let options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "LogLevel=ERROR",
    ];
    let ssh = ssh.args(options.iter().flat_map(|option| ["-o", option]));
    let target = format!("root@{}", at.ip());
    let ssh = ssh.args(["-p", &at.port().to_string(), &target, "echo $((6 * 7)); exit 3"]);
    let finished = ssh.run(LONG).unwrap();
    assert_eq!(
        (
            String::from_utf8_lossy(&finished.stdout).trim(),
            finished.status.code()
        ),
        ("42", Some(3)),
        "{}\n{}",
        finished.stderr,
        world.servers["shell"].log_tail()
    );
    adds_little(&world, "shell");
}
