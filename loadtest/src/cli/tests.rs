//! The command line itself, and files that stand for it.

use std::fs;

use clap::{CommandFactory as _, FromArgMatches as _};
use handbell_loadtest::file;

use super::*;

/// What a file and further options come to, as it is shown for debugging.
fn read(text: &str, others: &[&str]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.toml");
    fs::write(&path, text)?;
    let others: Vec<OsString> = others.iter().map(Into::into).collect();
    let arguments = file::arguments(&Cli::command(), &path, &others)?;
    let matches = file::matches(Cli::command(), &path, arguments)?;
    Ok(format!("{:?}", Cli::from_arg_matches(&matches)?.command))
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = format!("{:#}", read(text, &[]).unwrap_err());
    assert!(error.contains("x.toml: ") && error.contains(why), "{error}");
}

fn said(arguments: &[&str]) -> String {
    format!("{:?}", Cli::try_parse_from([&["x"], arguments].concat()).unwrap().command)
}

/// The file that a command line prints.
fn printed(arguments: &[&str]) -> String {
    let matches = Cli::command().try_get_matches_from([&["x"], arguments].concat()).unwrap();
    let (name, matches) = matches.subcommand().unwrap();
    file::example(&Cli::command(), name, matches)
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_example_of_every_scenario_means_what_its_defaults_do() {
    let command = Cli::command();
    let is_scenario = |scenario: &&clap::Command| {
        scenario.get_arguments().any(|arg| arg.get_long() == Some("print-toml"))
    };
    let names: Vec<&str> =
        command.get_subcommands().filter(is_scenario).map(clap::Command::get_name).collect();
    assert_eq!(names.len(), 9);
    for name in names {
        let example = printed(&[name]);
        assert!(example.lines().all(|line| line.chars().count() <= 100), "{example}");
        assert_eq!(read(&example, &[]).unwrap(), said(&[name]), "{example}");
    }
}

#[test]
fn what_was_said_is_in_the_example() {
    let arguments = [
        "fan-out",
        "--subscribers",
        "7",
        "--spin",
        "--rate",
        "5",
        "--doors",
        "ws,sse",
        "--url",
        "http://127.0.0.1:1",
        "--assert",
        "p99<1s",
        "--assert",
        "lost==0",
    ];
    let example = printed(&arguments);
    assert!(example.contains("\n# servers = "), "--url excludes them: {example}");
    let expected = said(&[&arguments[..], &["--app-id", "app-id"]].concat());
    assert_eq!(read(&example, &[]).unwrap(), expected);
}

#[test]
fn options_hold_in_the_place_of_the_files() {
    let text = "scenario = \"fan-out\"\ndoors = [\"ws\"]\nsubscribers = 3\nspin = true";
    let others = ["--doors=sse,pusher", "--subscribers", "4"];
    let expected = said(&["fan-out", "--doors", "sse,pusher", "--subscribers", "4", "--spin"]);
    assert_eq!(read(text, &others).unwrap(), expected);
}

#[test]
fn what_a_file_may_not_have_is_refused_with_the_reason() {
    let fan_out = |rest: &str| format!("scenario = \"fan-out\"\n{rest}");
    refused("rounds = 1", "`scenario` is missing: one of idle, fan-out");
    refused("scenario = 3", "`scenario` is the name of one");
    refused("scenario = \"fanout\"", "no scenario `fanout`. Did you mean `fan-out`?");
    refused("scenario = \"chaos\"", "no scenario `chaos`. There are idle");
    refused(&fan_out("subscriber = 3"), "unknown key `subscriber`. Did you mean `subscribers`?");
    refused(&fan_out("connections = 3"), "unknown key `connections`. fan-out has subscribers");
    refused(&fan_out("help = true"), "unknown key `help`");
    refused(&fan_out("spin = 1"), "`spin` is true or false, not 1");
    refused(&fan_out("subscribers = [1]"), "`subscribers` has one value, not a list");
    refused(&fan_out("subscribers = true"), "`subscribers` is a text or a number, not true");
    refused(&fan_out("subscribers = 0"), "invalid value '0' for '--subscribers");
    refused(&fan_out("doors = [\"window\"]"), "invalid value 'window' for '--doors");
    refused("scenario = ", "TOML parse error");
}
