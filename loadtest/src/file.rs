//! Scenarios as TOML files. A file has the options of the command line by their names, so that what may
//! stand in it, and what is refused, is what the command line takes and refuses.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::builder::StyledStr;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

/// The key that says which scenario it is.
const SCENARIO: &str = "scenario";
/// An option that only scenarios have.
const MARK: &str = "rounds";
/// Columns of a comment.
const COMMENT_WIDTH: usize = 100;
/// Options that are not for files.
const NOT_HERE: [&str; 3] = ["help", "version", "print-toml"];

/// The command line that a file stands for. `others` are options of a command line, which hold in the
/// place of the file's.
///
/// # Errors
/// If it cannot be read, or a key is not known or has a value of another type.
pub fn arguments(
    command: &Command,
    path: &Path,
    others: &[OsString],
) -> anyhow::Result<Vec<OsString>> {
    let read = || -> anyhow::Result<Vec<OsString>> {
        let text = fs::read_to_string(path)?;
        let table: Table = text.parse()?;
        translate(command, table, others)
    };
    read().with_context(|| path.display().to_string())
}

/// What such a command line says.
///
/// # Errors
/// If a value is refused, with the file's name and why.
pub fn matches(
    command: Command,
    path: &Path,
    arguments: Vec<OsString>,
) -> anyhow::Result<ArgMatches> {
    command.try_get_matches_from(arguments).map_err(|error| {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        // What follows is about --help.
        let text = text.split("\n\n").next().unwrap_or(text);
        anyhow!("{}: {text}", path.display())
    })
}

fn translate(
    command: &Command,
    mut table: Table,
    others: &[OsString],
) -> anyhow::Result<Vec<OsString>> {
    let scenarios: Vec<&str> = command
        .get_subcommands()
        .filter(|scenario| option(scenario, MARK).is_some())
        .map(Command::get_name)
        .collect();
    let name = match table.remove(SCENARIO) {
        Some(Value::String(name)) => name,
        Some(_) => bail!("`{SCENARIO}` is the name of one: {}", scenarios.join(", ")),
        None => bail!("`{SCENARIO}` is missing: one of {}", scenarios.join(", ")),
    };
    let found = command.find_subcommand(&name).filter(|_| scenarios.contains(&name.as_str()));
    let scenario = found.with_context(|| {
        let known = scenarios.join(", ");
        format!("there is no scenario `{name}`.{} There are {known}", like(&name, &scenarios))
    })?;
    let mut arguments: Vec<OsString> = vec![command.get_name().into(), name.into()];
    for (key, value) in table {
        let Some(arg) = option(scenario, &key) else {
            let known: Vec<&str> = options(scenario).filter_map(Arg::get_long).collect();
            let name = scenario.get_name();
            bail!("unknown key `{key}`.{} {name} has {}", like(&key, &known), known.join(", "));
        };
        if !is_overruled(&key, others) {
            add(&mut arguments, arg, &key, &value)?;
        }
    }
    arguments.extend_from_slice(others);
    Ok(arguments)
}

/// Appends an option with its value or values.
fn add(arguments: &mut Vec<OsString>, arg: &Arg, key: &str, value: &Value) -> anyhow::Result<()> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        let Value::Boolean(is_set) = value else { bail!("`{key}` is true or false, not {value}") };
        arguments.extend(is_set.then(|| format!("--{key}").into()));
        return Ok(());
    }
    let values = match value {
        Value::Array(values) => {
            let is_list = matches!(arg.get_action(), ArgAction::Append);
            ensure!(is_list, "`{key}` has one value, not a list");
            &values[..]
        }
        value => std::slice::from_ref(value),
    };
    for value in values {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            other => bail!("`{key}` is a text or a number, not {other}"),
        };
        arguments.push(format!("--{key}={text}").into());
    }
    Ok(())
}

/// A file with what a command line says and the defaults of everything else, and what each option means.
#[must_use]
pub fn example(command: &Command, name: &str, matches: &ArgMatches) -> String {
    let mut command = command.clone();
    command.build();
    let Some(scenario) = command.find_subcommand(name) else { return String::new() };
    let about = scenario.get_about().map(comment).unwrap_or_default();
    let mut out = format!("{about}{SCENARIO} = {}\n", Value::from(name));
    let is_said =
        |arg: &Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    for arg in options(scenario) {
        let key = arg.get_long().unwrap_or_default();
        let help = arg.get_help().map(comment).unwrap_or_default();
        // A default that what was said excludes is shown and does not hold.
        let excludes = |one: &Arg, other: &Arg| {
            scenario.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        let is_excluded = !is_said(arg)
            && options(scenario)
                .any(|other| is_said(other) && (excludes(other, arg) || excludes(arg, other)));
        let line = match value(arg, matches) {
            Some(value) if is_excluded => format!("# {key} = {value}"),
            Some(value) => format!("{key} = {value}"),
            None => {
                let names = arg.get_value_names().unwrap_or_default();
                let name = names.first().map(ToString::to_string).unwrap_or_default();
                format!("# {key} = {name}")
            }
        };
        out += &format!("\n{help}{line}\n");
    }
    out
}

/// What an option has, on the command line or by default.
fn value(arg: &Arg, matches: &ArgMatches) -> Option<Value> {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Some(Value::Boolean(matches.get_flag(id)));
    }
    let raw = matches.get_raw(id)?.map(|text| typed(&text.to_string_lossy()));
    let mut values: Vec<Value> = raw.collect();
    match arg.get_action() {
        ArgAction::Append => Some(Value::Array(values)),
        _ => values.pop(),
    }
}

fn typed(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::from(text), Value::Integer)
}

/// A help text as a comment, in lines that are not too long.
fn comment(text: &StyledStr) -> String {
    let (mut out, mut width) = (String::new(), COMMENT_WIDTH);
    for word in text.to_string().split_whitespace() {
        width += 1 + word.chars().count();
        if width > COMMENT_WIDTH {
            out += if out.is_empty() { "#" } else { "\n#" };
            width = 2 + word.chars().count();
        }
        out.push(' ');
        out += word;
    }
    out + "\n"
}

fn options(scenario: &Command) -> impl Iterator<Item = &Arg> {
    let is_here = |arg: &&Arg| arg.get_long().is_some_and(|long| !NOT_HERE.contains(&long));
    scenario.get_arguments().filter(is_here)
}

fn option<'a>(scenario: &'a Command, key: &str) -> Option<&'a Arg> {
    options(scenario).find(|arg| arg.get_long() == Some(key))
}

/// Whether an option is among those of a command line.
fn is_overruled(key: &str, others: &[OsString]) -> bool {
    let long = format!("--{key}");
    others.iter().filter_map(|other| other.to_str()).any(|other| {
        other.strip_prefix(&long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// The most similar of the known words, if one is similar.
fn like(word: &str, known: &[&str]) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(word, known);
    let nearest = known.iter().min_by_key(distance).filter(|known| distance(known) <= 2);
    nearest.map(|known| format!(" Did you mean `{known}`?")).unwrap_or_default()
}
