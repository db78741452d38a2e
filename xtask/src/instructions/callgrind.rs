//! valgrind's callgrind: how it is called, and what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// It is counted between the beginning and the end of the first, the second apart. (In tests/instructions.)
const FUNCTIONS: [&str; 2] = ["*part_that_is_counted*", "*turn_of_the_others*"];

/// valgrind, without the program.
pub(super) fn command(profile: &Path, log: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(format!("--log-file={}", log.display()));
    valgrind.args(FUNCTIONS.map(|function| format!("--toggle-collect={function}")));
    valgrind
}

/// The instructions in a profile.
pub(super) fn total(profile: &Path) -> Result<u64> {
    let text = fs::read_to_string(profile).with_context(|| format!("cannot read {}", profile.display()))?;
    parse_total(&text).with_context(|| format!("{} holds no count", profile.display()))
}

fn parse_total(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.parse().ok().filter(|total| *total > 0)
}

/// Prints the functions of a profile that cost most: by themselves, and with what they call.
pub(super) fn print_top(profile: &Path, count: usize, requests: u64, case: &str) -> Result<()> {
    for (title, inclusive) in [("by themselves", "no"), ("with what they call", "yes")] {
        let output = Command::new("callgrind_annotate")
            .args(["--auto=no", "--show=Ir", "--threshold=100"])
            .arg(format!("--inclusive={inclusive}"))
            .arg(profile)
            .output()
            .context("cannot run callgrind_annotate, which comes with valgrind")?;
        if !output.status.success() {
            bail!(
                "callgrind_annotate: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        println!("\n{case}: instructions a request, of functions {title}");
        let text = String::from_utf8_lossy(&output.stdout);
        for (instructions, function) in text.lines().filter_map(parse_function).take(count) {
            println!("{:>9}  {function}", instructions / requests);
        }
    }
    Ok(())
}

/// `1,234 ( 5.67%)  file:function [object]`.
fn parse_function(line: &str) -> Option<(u64, &str)> {
    let (number, rest) = line.trim_start().split_once(' ')?;
    let (_, rest) = rest.split_once("%)")?;
    let number = number.replace(',', "").parse().ok()?;
    let (_, function) = rest.trim_start().split_once(':')?;
    let function = function
        .split_once(" [")
        .map_or(function, |(function, _)| function);
    Some((number, function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_count_of_a_profile() {
        let text = "version: 1\nevents: Ir\nfn=(1) main\n1 5\ntotals: 1234\n";
        assert_eq!(parse_total(text), Some(1234));
        assert_eq!(parse_total("events: Ir\ntotals: 0\n"), None);
    }

    #[test]
    fn reads_a_line_of_a_function() {
        let line = "  1,234,567 ( 5.67%)  /src/a.rs:mesh_http::guard::h1::Guard::feed [/target/release/x]";
        assert_eq!(
            parse_function(line),
            Some((1_234_567, "mesh_http::guard::h1::Guard::feed"))
        );
        assert_eq!(parse_function("Ir                 file:function"), None);
        assert_eq!(parse_function("20,000 (100.0%)  PROGRAM TOTALS"), None);
    }
}
