//! Those who say nothing: the client, the server, or both; and those who end before they began.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mesh_e2e::MOMENT;
use mesh_e2e::traffic::{accept, connect, listen, outcome};
use mesh_harness::until;

use crate::{QUIET_PORT, WORLD, World};

/// Longer than the mesh waits for anything while it finds out what is spoken.
const A_WHILE: Duration = Duration::from_secs(12);

fn quiet(world: &mut World, name: &str) -> SocketAddr {
    world
        .service(name, "quiet", QUIET_PORT, QUIET_PORT, None)
        .unwrap()
}

fn is_silent(stream: &mut TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// What the client's node has computed so far: utime and stime, in hundredths of a second (proc_pid_stat(5)).
fn cpu_time(world: &mut World) -> Duration {
    let id = world.mesh.nodes[0].process().unwrap().id();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[test]
fn silence_of_both_breaks_nothing_and_costs_nothing() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "silent");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut client = connect(&world.client, at);
    let (mut server, _) = accept(&listener);
    let before = cpu_time(&mut world);
    assert!(is_silent(&mut client, A_WHILE));
    let spent = cpu_time(&mut world).saturating_sub(before);
    assert!(
        spent < Duration::from_millis(500),
        "waiting took {spent:?} of the node's time"
    );
    client.write_all(b"\0hello").unwrap();
    let mut bytes = [0; 6];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0hello");
    server.write_all(b"well?").unwrap();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"well?");
}

#[test]
fn a_server_may_take_its_time_to_speak() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "late");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut client = connect(&world.client, at);
    let (mut server, _) = accept(&listener);
    assert!(is_silent(&mut client, Duration::from_secs(2)));
    server.write_all(b"220 at last\r\n").unwrap();
    let mut bytes = [0; 13];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"220 at last\r\n");
    // From now on it is bytes, whatever they look like.
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut bytes = [0; 18];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn a_half_close_before_any_byte_reaches_the_server() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "ended");
    let told = world.told("half_closed");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut client = connect(&world.client, at);
    client.shutdown(Shutdown::Write).unwrap();
    let (mut server, _) = accept(&listener);
    assert_eq!(outcome(&mut server), Ok(Vec::new()));
    server.write_all(b"goodbye").unwrap();
    drop(server);
    assert_eq!(outcome(&mut client), Ok(b"goodbye".to_vec()));
    // The server may have been asked before the end arrived.
    assert!(world.told("half_closed") >= told);
}

#[test]
fn a_few_letters_without_an_end_arrive_soon_and_whole() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "letters");
    let told = world.told("undecided");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut client = connect(&world.client, at);
    client.write_all(b"ruok").unwrap();
    let begun = Instant::now();
    let (mut server, _) = accept(&listener);
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ruok");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    server.write_all(b"imok").unwrap();
    drop(server);
    assert_eq!(outcome(&mut client), Ok(b"imok".to_vec()));
    assert!((world.told("undecided") - told - 1.0).abs() < 0.5);
}

#[test]
fn a_silent_client_learns_at_once_that_nobody_listens() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "nobody");
    let mut client = connect(&world.client, at);
    let begun = Instant::now();
    assert_eq!(outcome(&mut client), Err(ErrorKind::ConnectionReset));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_goes_away_while_nobody_speaks_is_missed_by_the_server() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "gone");
    let listener = listen(&world.quiet, QUIET_PORT);
    let client = connect(&world.client, at);
    let (mut server, _) = accept(&listener);
    drop(client);
    assert_eq!(outcome(&mut server), Ok(Vec::new()));
    drop(server);
    until("the connection to be over", MOMENT, || {
        let open = world.a().admin("/connections")?;
        let open = open.as_array().map_or(0, Vec::len);
        Ok((open == 0).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_server_that_ends_before_it_speaks_ends_the_clients_connection() {
    let mut world = WORLD.take();
    let at = quiet(&mut world, "brief");
    let listener = listen(&world.quiet, QUIET_PORT);
    let mut client = connect(&world.client, at);
    let (server, _) = accept(&listener);
    drop(server);
    assert_eq!(outcome(&mut client), Ok(Vec::new()));
}
