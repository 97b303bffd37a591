//! The documents say what the code does: their tables of limits are compared with the constants.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wigwag::{
    control::{Admission, FUEL_PER_CORE_SECOND},
    plugin::{CompileLimits, Limits},
};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The rows of a document's table with this header, cell by cell.
fn table_of(document: &str, header: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
    let (_, rest) = text.split_once(header).expect("it has the table");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

/// The rows of the guide's table with this header.
pub(crate) fn table(header: &str) -> Vec<Vec<String>> {
    table_of("plugin-guide.md", header)
}

/// The constants of a file: names and values, as its source has them.
fn constants(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap();
    let of = |line: &str| {
        let (before, value) = line.split_once(" = ")?;
        let (_, before) = before.split_once("const ")?;
        let (name, _) = before.split_once(':')?;
        let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        is_name.then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
    };
    text.lines().filter_map(of).collect()
}

/// All source files below a folder of the host.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("host/src").join(folder)).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                let name = path.file_name().unwrap().to_str().unwrap();
                files.extend(sources(&format!("{folder}/{name}")));
            }
            false => files.push(path),
        }
    }
    files
}

/// The value of a constant, as its source has it: `NAME`, which must stand once, or `path/of/file::NAME`.
fn constant(place: &str) -> u64 {
    let (files, name) = match place.split_once("::") {
        Some((file, name)) => {
            let file = root().join(format!("host/src/{file}.rs"));
            (vec![file], name)
        }
        None => {
            let folders = ["plugin", "control", "engine", "http"];
            (folders.into_iter().flat_map(sources).collect(), place)
        }
    };
    let found = files.iter().flat_map(|file| constants(file));
    let mut values: Vec<_> = found.filter(|(n, _)| n == name).map(|(_, v)| v).collect();
    values.dedup();
    let [text] = &values[..] else {
        panic!("the code has {place} {} times: {values:?}", values.len())
    };
    value(text)
}

/// Times in milliseconds.
fn value(text: &str) -> u64 {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap();
    let within = |text: &str, before: &str| {
        let rest = text.strip_prefix(before)?;
        Some(number(rest.trim_end_matches(')')))
    };
    if let Some(seconds) = within(text, "Duration::from_secs(") {
        return seconds * 1000;
    }
    let product = |text: &str| text.split('*').map(number).product();
    match text.split_once("<<") {
        Some((of, shift)) => number(of) << number(shift),
        None => product(text),
    }
}

/// All rows of both tables: what is limited, to how much, and by what.
fn limits() -> Vec<[String; 3]> {
    let header = "| limit | at most | in the code |";
    let documents = ["plugin-guide.md", "lifecycle.md"];
    let rows = documents.into_iter().flat_map(|d| table_of(d, header));
    rows.map(|row| row.try_into().unwrap()).collect()
}

/// The constant that a row names.
fn named(place: &str) -> &str {
    place.split('`').nth(1).unwrap()
}

#[test]
fn the_tables_of_limits_are_those_of_the_code() {
    let defaults = Limits::default();
    let rows = limits();
    assert!(rows.len() >= 35, "{rows:?}");
    for [what, at_most, place] in rows {
        let mut words = at_most.split(' ');
        let number: u64 = words.next().unwrap().parse().unwrap();
        let said = match words.next() {
            Some("MiB") => number << 20,
            Some("KiB") => number << 10,
            Some("s") => number * 1000,
            Some("bytes") | None => number,
            unit => panic!("{what}: unit {unit:?}"),
        };
        let is = match named(&place) {
            "Limits::default().memory_bytes" => defaults.memory_bytes as u64,
            "Limits::default().row_fuel" => defaults.row_fuel,
            "Limits::default().deadline" => defaults.deadline.as_millis() as u64,
            name => constant(name),
        };
        assert_eq!(said, is, "{what}");
    }
}

/// What bounds no author: how much is told of what is wrong, and on how much a plugin is tried.
const OF_NO_AUTHOR: [&str; 6] = [
    "MAX_UNKNOWN_TOLD",
    "MAX_VALUE_TOLD_BYTES",
    "MAX_TICKS",
    "MAX_ERRORS",
    "MAX_ANSWER_BYTES",
    "MAX_BYTES",
];

#[test]
fn each_limit_of_the_code_is_in_a_table() {
    let told: Vec<String> = limits()
        .iter()
        .map(|[_, _, place]| named(place).to_owned())
        .collect();
    let mut seen = 0;
    for file in ["plugin", "control"].into_iter().flat_map(sources) {
        for (name, _) in constants(&file) {
            if name.starts_with("MAX_") && !OF_NO_AUTHOR.contains(&&*name) {
                assert!(
                    told.contains(&name),
                    "{name} of {} is in no table",
                    file.display()
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} were found");
}

#[test]
fn the_limits_of_a_compilation_are_those_of_the_code() {
    let (none, one) = (
        CompileLimits::for_size(0),
        CompileLimits::for_size(1_000_000),
    );
    let mebibyte = CompileLimits::for_size(1 << 20).memory_bytes - none.memory_bytes;
    let said = format!(
        "{} s of CPU + {} s for each MB; {} MiB + {} MiB for each MiB of address space",
        none.cpu_seconds,
        one.cpu_seconds - none.cpu_seconds,
        none.memory_bytes >> 20,
        mebibyte >> 20
    );
    let text = fs::read_to_string(root().join("docs/lifecycle.md")).unwrap();
    assert!(text.contains(&said), "lifecycle.md does not say {said:?}");
    let plan = Admission::default();
    let said = format!(
        "`--plan-cores` ({}) at `--plan-ticks` ticks a second ({}), at {:e} fuel",
        plan.cores, plan.ticks_per_second, FUEL_PER_CORE_SECOND
    );
    assert!(text.contains(&said), "lifecycle.md does not say {said:?}");
}
