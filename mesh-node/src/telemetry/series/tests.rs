use std::thread;

use super::*;

#[derive(Debug, Clone, Copy, Hash)]
struct Name(u64);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    open: u64,
}

impl Query<u64> for Name {
    fn is(&self, key: &u64) -> bool {
        self.0 == *key
    }

    fn to_key(&self) -> u64 {
        self.0
    }
}

impl Value for Sum {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.open += other.open;
    }

    fn is_busy(&self) -> bool {
        self.open > 0
    }
}

fn series(limit: usize) -> Series<u64, Sum> {
    Series::new("test", 4, limit)
}

fn count(series: &Series<u64, Sum>, name: u64) {
    series.update(&Name(name), |sum| sum.count += 1);
}

fn counts(series: &Series<u64, Sum>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = series
        .read()
        .series
        .iter()
        .map(|(key, sum)| (**key, sum.count))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn threads_count_apart_and_are_read_together() {
    let series = series(1000);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..1000 {
                    count(&series, round % 300);
                }
            });
        }
    });
    let counts = counts(&series);
    assert_eq!(counts.len(), 300);
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 8000);
    assert_eq!(counts[0], (0, 32));
    assert_eq!(counts[299], (299, 24));
}

#[test]
fn more_than_the_limit_goes_into_one_value_that_says_so() {
    let series = series(10);
    for name in 0..25 {
        count(&series, name);
        count(&series, name);
    }
    let reading = series.read();
    assert_eq!(reading.series.len(), 10);
    assert_eq!(reading.overflowed, 30);
    assert_eq!(reading.overflow.count, 30);
    assert_eq!(counts(&series).iter().map(|(_, count)| count).sum::<u64>(), 20);
}

#[test]
fn the_limit_holds_over_all_threads() {
    let series = series(50);
    thread::scope(|scope| {
        for first in 0..8 {
            let series = &series;
            scope.spawn(move || (0..40).for_each(|name| count(series, first * 20 + name)));
        }
    });
    let reading = series.read();
    assert_eq!(reading.series.len(), 50);
    let counted: u64 = reading.series.iter().map(|(_, sum)| sum.count).sum();
    assert_eq!(counted + reading.overflowed, 320, "nothing is lost");
}

#[test]
fn what_is_gone_goes_when_it_was_idle_for_long_enough() {
    let series = series(2000);
    let is_odd = |name: &u64| name % 2 == 1;
    for name in 0..1000 {
        count(&series, name);
    }
    assert_eq!(series.sweep(500, 500, is_odd), 0, "perhaps just used");
    count(&series, 7);
    assert_eq!(series.sweep(1_000, 500, is_odd), 499, "7 was used after 500");
    assert_eq!(series.len(), 501);
    assert_eq!(series.sweep(1_500, 500, is_odd), 1);
    let left = counts(&series);
    assert_eq!(left.len(), 500);
    assert!(left.iter().all(|(name, count)| name % 2 == 0 && *count == 1));
    // What comes back begins at nothing.
    count(&series, 9);
    assert!(counts(&series).contains(&(9, 1)));
}

#[test]
fn what_another_thread_counted_in_stays() {
    let series = series(10);
    thread::scope(|scope| {
        scope.spawn(|| count(&series, 1));
    });
    series.sweep(1_000, 100, |_| true);
    thread::scope(|scope| {
        scope.spawn(|| count(&series, 1));
    });
    assert_eq!(series.sweep(1_100, 100, |_| true), 0);
    assert_eq!(counts(&series), [(1, 2)]);
    series.sweep(1_200, 100, |_| true);
    assert_eq!(counts(&series), []);
    assert!(series.is_empty());
}

#[test]
fn what_is_under_way_stays() {
    let series = series(10);
    series.update(&Name(1), |sum| sum.open = 1);
    series.sweep(1_000, 100, |_| true);
    series.sweep(2_000, 100, |_| true);
    assert_eq!(series.len(), 1);
    series.update(&Name(1), |sum| sum.open = 0);
    series.sweep(3_000, 100, |_| true);
    series.sweep(4_000, 100, |_| true);
    assert_eq!(series.len(), 0);
}

#[test]
fn a_full_table_makes_room_by_what_is_idle_though_it_exists() {
    let series = series(3);
    for name in 0..4 {
        count(&series, name);
    }
    series.sweep(1_000, 100, |_| false);
    count(&series, 2);
    series.sweep(2_000, 100, |_| false);
    assert_eq!(
        counts(&series),
        [(2, 1 + 1)],
        "idle ones went, for the table was full"
    );
    count(&series, 8);
    assert_eq!(counts(&series), [(2, 2), (8, 1)]);
    assert_eq!(series.read().overflowed, 1, "what was counted before stays told");
}

#[test]
fn sweeps_and_readers_lose_nothing_of_what_is_counted_meanwhile() {
    let series = series(100_000);
    thread::scope(|scope| {
        for first in 0..4_u64 {
            let series = &series;
            scope.spawn(move || {
                for round in 0..50_000 {
                    // Never swept: the predicate below spares what is under 1,000.
                    count(series, round % 1_000);
                    count(series, 1_000 + first * 50_000 + round);
                }
            });
        }
        for now in 0..50 {
            series.sweep(1_000 + now * 10, 10, |name| *name >= 1_000);
            let reading = series.read();
            let mut names: Vec<u64> = reading.series.iter().map(|(key, _)| **key).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), reading.series.len(), "each once");
        }
    });
    let kept: u64 = counts(&series)
        .iter()
        .filter(|(name, _)| *name < 1_000)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(kept, 200_000);
}
