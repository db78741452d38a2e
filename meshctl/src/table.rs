//! Aligned columns for people. One row is one line whatever the cells hold: control characters become spaces, so
//! that a message from elsewhere cannot move the cursor or split a row.

use std::fmt::Write as _;

/// Between two columns.
const GAP: &str = "   ";

/// A column: its heading, and the side on which its cells are flush.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// Text.
    Left(&'static str),
    /// A number or a size.
    Right(&'static str),
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

// === impl Column ===

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }
}

// === impl Table ===

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row.map(|cell| one_line(&cell)));
    }

    /// The table, or `empty` on a line of its own when it has no rows.
    pub(crate) fn render(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let headings = self.columns.map(|column| column.heading().to_owned());
        let mut widths = [0; N];
        for row in self.rows.iter().chain([&headings]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(self.columns).zip(widths) {
                let written = match column {
                    Column::Left(_) => write!(line, "{cell:<width$}{GAP}"),
                    Column::Right(_) => write!(line, "{cell:>width$}{GAP}"),
                };
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The text with its control characters replaced by spaces; `-` for none at all, so that columns can be counted.
pub(crate) fn one_line(text: &str) -> String {
    if text.trim().is_empty() {
        return "-".to_owned();
    }
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_text_left_and_numbers_right() {
        let mut table = Table::new([Column::Left("NAME"), Column::Right("SENT"), Column::Left("PEER")]);
        table.push(["shop/web-1".to_owned(), "5 B".to_owned(), "a".to_owned()]);
        table.push(["é".to_owned(), "1000 B".to_owned(), String::new()]);
        let expected = "\
NAME           SENT   PEER
shop/web-1      5 B   a
é            1000 B   -
";
        assert_eq!(table.render("none"), expected);
    }

    #[test]
    fn says_so_when_empty() {
        assert_eq!(
            Table::new([Column::Left("NAME")]).render("Nothing is open."),
            "Nothing is open.\n"
        );
    }

    #[test]
    fn keeps_a_row_on_its_line() {
        let mut table = Table::new([Column::Left("ERROR")]);
        table.push(["first\nsecond\u{1b}[2J".to_owned()]);
        assert_eq!(table.render(""), "ERROR\nfirst second [2J\n");
    }
}
