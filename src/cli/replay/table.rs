//! Aligned columns.

use std::io::{self, Write};

use super::Paint;

/// Rows of cells; the first column is left-aligned, the others right-aligned.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub(super) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row, as long as the head.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        for (n, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = if n == 0 { paint.bold(&line) } else { line };
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["bot", "n"]);
        table.row(vec!["größer".into(), "1".into()]);
        table.row(vec!["a".into(), "1000".into()]);
        let mut out = Vec::new();
        table.write(&mut out, Paint { on: false }).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "bot        n\ngrößer     1\na       1000\n");
    }
}
