//! The guide says what the code does: its table of limits is compared with the constants.

use std::{fs, path::Path};

use wigwag::plugin::Limits;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The rows of the guide's table with this header, cell by cell.
pub(crate) fn table(header: &str) -> Vec<Vec<String>> {
    let guide = fs::read_to_string(root().join("docs/plugin-guide.md")).unwrap();
    let (_, rest) = guide.split_once(header).expect("the guide has the table");
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

/// The value of a constant of the plugin module or the engine, as its source has it.
fn constant(name: &str) -> u64 {
    fn find(folder: &Path, name: &str) -> Option<String> {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = match path.is_dir() {
                true => find(&path, name),
                false => fs::read_to_string(&path).unwrap().lines().find_map(|line| {
                    let (before, value) = line.split_once(" = ")?;
                    let before = before.trim_start_matches("pub(super) ");
                    before
                        .starts_with(&format!("const {name}:"))
                        .then(|| value.trim_end_matches(';').to_owned())
                }),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
    let folders = ["host/src/plugin", "host/src/engine"].map(|folder| root().join(folder));
    let found = folders.iter().find_map(|folder| find(folder, name));
    let text = found.unwrap_or_else(|| panic!("the code has no constant {name}"));
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap();
    match text.split_once("<<") {
        Some((number_of, shift)) => number(number_of) << number(shift),
        None => number(&text),
    }
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let limits = Limits::default();
    let rows = table("| limit | at most | in the code |");
    assert!(rows.len() >= 15, "{rows:?}");
    for row in rows {
        let [what, at_most, place] = &row[..] else {
            panic!("{row:?}")
        };
        let mut words = at_most.split(' ');
        let number: u64 = words.next().unwrap().parse().unwrap();
        let said = match words.next() {
            Some("MiB") => number << 20,
            Some("KiB") => number << 10,
            Some("s") => number * 1000,
            Some("bytes") | None => number,
            unit => panic!("{what}: unit {unit:?}"),
        };
        let name = place.split('`').nth(1).unwrap();
        let is = match name {
            "Limits::default().memory_bytes" => limits.memory_bytes as u64,
            "Limits::default().row_fuel" => limits.row_fuel,
            "Limits::default().deadline" => limits.deadline.as_millis() as u64,
            name => constant(name),
        };
        assert_eq!(said, is, "{what}");
    }
}
