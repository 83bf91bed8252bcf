//! Answers on standard output: tables and `key: value` lines for people, the API's JSON for programs.

use std::io::{self, Write as _};

use serde_json::Value;

pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    print(&format!("{value:#}\n"))
}

/// Columns as wide as what is in them; the last one ends where it ends.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widest = |(at, name): (usize, &&str)| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = head.iter().enumerate().map(widest).collect();
    let head = head.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What is no text is shown as JSON has it; nothing for what is not there.
pub(crate) fn word(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => printable(text),
        Some(other) => other.to_string(),
    }
}

/// One line, and nothing in it that a terminal would obey; as PVE's tools write a description.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                line += &format!("%{byte:02X}");
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// An object's keys in order, but for some.
pub(crate) fn lines(object: &Value, without: &[&str]) -> String {
    let pairs = object.as_object().into_iter().flatten();
    let mut lines: Vec<_> = pairs
        .filter(|(key, _)| !without.contains(&key.as_str()))
        .map(|(key, value)| format!("{key}: {}\n", word(Some(value))))
        .collect();
    lines.sort();
    lines.concat()
}

/// The rows of a list.
pub(crate) fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["100", "running", "a"], ["999999999", "stopped", ""]];
        let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(
            table(&["VMID", "Status", "Name"], &rows),
            "VMID       Status   Name\n100        running  a\n999999999  stopped\n"
        );
    }

    #[test]
    fn a_value_stays_on_its_line_and_commands_no_terminal() {
        let object = json!({"b": 1, "a": "x\ny\u{1b}[2J", "digest": "d", "c": null});
        assert_eq!(lines(&object, &["digest"]), "a: x%0Ay%1B[2J\nb: 1\nc: \n");
    }
}
