//! The arguments as people type them.

use super::*;
use clap::CommandFactory;

#[test]
fn arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_and_examples() {
    let command = Cli::command();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        assert!(subcommand.get_about().is_some(), "{name} says nothing");
        let help = subcommand
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(help.contains(&format!("meshctl {name}")), "{name} has no example");
    }
}

#[test]
fn takes_global_options_on_either_side() {
    let before = Cli::try_parse_from(["meshctl", "--output", "json", "status"]).expect("valid");
    let after =
        Cli::try_parse_from(["meshctl", "status", "-o", "json", "--timeout", "300ms"]).expect("valid");
    assert_eq!(before.global.output, Output::Json);
    assert_eq!(after.global.output, Output::Json);
    assert_eq!(after.global.timeout, Duration::from_millis(300));
}

#[test]
fn leaves_everything_after_the_dashes_to_the_program() {
    let line = [
        "meshctl",
        "run",
        "--workload",
        "shop/web-1",
        "--",
        "sh",
        "-c",
        "true",
        "--output",
    ];
    let Command::Run(run) = Cli::try_parse_from(line).expect("valid").command else {
        panic!("another command");
    };
    assert_eq!(run.command, ["sh", "-c", "true", "--output"]);
    assert_eq!(run.wait, Duration::from_secs(10));
}

#[test]
fn refuses_arguments_that_make_no_sense() {
    for (line, message) in [
        (
            &["meshctl", "run", "--workload", "web-1", "--", "true"][..],
            "NAMESPACE/NAME",
        ),
        (&["meshctl", "run", "--workload", "shop/web-1"], "COMMAND"),
        (&["meshctl", "--admin", "localhost", "status"], "--admin"),
        (&["meshctl", "--timeout", "5 apples", "status"], "--timeout"),
    ] {
        let error = Cli::try_parse_from(line)
            .expect_err("must be refused")
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn completes_in_every_shell() {
    for shell in Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "meshctl", &mut script);
        let script = String::from_utf8(script).expect("text");
        assert!(
            script.contains("certificates"),
            "{shell} does not complete the commands"
        );
    }
}
