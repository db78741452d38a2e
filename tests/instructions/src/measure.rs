//! Runs a case: some requests to get warm, then those that are counted.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::peer::Others;
use crate::tally::{self, Tally};
use crate::world::{Case, World};

/// Requests before those that are counted: caches, pools and tables are filled then.
const WARM_UP: u64 = 200;

/// The clients and servers, and who waits for them.
#[derive(Default)]
struct Table {
    others: Mutex<Option<Others>>,
    done: Notify,
}

/// Runs the case, and gives what was counted of its requests.
pub(crate) fn run(case: &Case, requests: u64) -> Result<Tally> {
    fastrand::seed(case.name.len() as u64);
    tally::take_over_clock();
    let table = Arc::new(Table::default());
    let guests = Arc::clone(&table);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || others(&guests))
        .build()
        .context("cannot start the runtime")?;
    let (world, others) = runtime.block_on(World::open(case))?;
    *table.others.lock() = Some(others);
    until_done(&runtime, &table, WARM_UP)?;
    part_that_is_counted(&runtime, &table, requests)?;
    drop(world);
    Ok(tally::counted())
}

/// valgrind counts between its beginning and its end, by its name; [`turn_of_the_others`] apart.
#[inline(never)]
fn part_that_is_counted(runtime: &Runtime, table: &Table, requests: u64) -> Result<()> {
    tally::count(true);
    let result = until_done(runtime, table, requests);
    tally::count(false);
    result
}

fn until_done(runtime: &Runtime, table: &Table, requests: u64) -> Result<()> {
    if let Some(others) = &mut *table.others.lock() {
        others.ask_for(requests);
    }
    runtime.block_on(table.done.notified());
    match &mut *table.others.lock() {
        Some(others) => others.result(),
        None => bail!("there is nobody to be served"),
    }
}

/// What clients and servers do once the data plane has nothing left to do.
fn others(table: &Table) {
    if tally::count(false) {
        turn_of_the_others(table);
        tally::count(true);
    } else {
        turn(table);
    }
}

/// valgrind does not count it, by its name.
#[inline(never)]
fn turn_of_the_others(table: &Table) {
    turn(table);
}

fn turn(table: &Table) {
    if let Some(others) = &mut *table.others.lock()
        && others.turn()
    {
        table.done.notify_one();
    }
}
