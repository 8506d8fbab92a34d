//! Text for people: bytes without surprises for a terminal, and aligned tables.
//!
//! It must never know what the text says. The escapes stand in docs/cli.md.

use std::fmt::Write;

/// Bytes as one line of text: UTF-8 as it is; backslashes, control characters, characters that turn
/// the direction of writing, and bytes that are not UTF-8 are escaped. So one key is one line, and no
/// key can command the terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                _ if character.is_control() || turns_direction(character) => {
                    text.extend(character.escape_unicode());
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The first `len_max` characters or so of `printable`, with `...` where something is left out.
pub(crate) fn printable_start(bytes: &[u8], len_max: usize) -> String {
    match bytes.get(..len_max) {
        Some(start) if start.len() < bytes.len() => format!("{}...", printable(start)),
        _ => printable(bytes),
    }
}

fn turns_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Rows of cells whose columns line up: the first columns to the left, numbers after them to the
/// right.
pub(crate) struct Table {
    left_columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(left_columns: usize) -> Table {
        Table {
            left_columns,
            rows: Vec::new(),
        }
    }

    /// A row of names over the columns.
    pub(crate) fn headed(left_columns: usize, heads: &[&str]) -> Table {
        let mut table = Table::new(left_columns);
        table.row(heads.iter().map(|&head| head.to_owned()).collect());
        table
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        self.rows
            .iter()
            .map(|row| self.line(row, &widths))
            .collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(
            |(column, (cell, &width))| match column < self.left_columns {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            },
        );
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_one_harmless_line() {
        assert_eq!(printable(b"src/lib.rs"), "src/lib.rs");
        assert_eq!(printable("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(printable(b"a\nb\tc\\d"), "a\\nb\\tc\\\\d");
        assert_eq!(printable(b"\x1b[31m\0"), "\\u{1b}[31m\\u{0}");
        assert_eq!(printable(b"\xff\xfeA\xc3"), "\\xff\\xfeA\\xc3");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable_start(b"abcdef", 3), "abc...");
        assert_eq!(printable_start(b"abc", 3), "abc");
    }

    #[test]
    fn table_columns_line_up() {
        let mut table = Table::headed(1, &["name", "keys"]);
        table.row(vec!["a".into(), "1,000".into()]);
        table.row(vec!["longer".into(), "2".into()]);
        assert_eq!(
            table.lines(),
            ["name     keys", "a       1,000", "longer      2"]
        );
    }
}
