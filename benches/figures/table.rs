//! One row per figure: as text on the terminal, as Markdown in docs/performance.md.

use std::{fmt::Write, path::Path};

const BEGIN: &str =
    "<!-- figures: written by `cargo bench --no-default-features -- --write`, never by hand -->";
const END: &str = "<!-- end of figures -->";

/// What a figure has to keep.
pub(crate) enum Goal {
    /// An absolute limit in the figure's unit.
    AtMost(f64),
    /// A limit as a share of the other program's figure, in the same run.
    ShareOfOther(f64),
}

/// One measured figure, beside that of the program it is compared with.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) other: Option<f64>,
    pub(crate) goal: Goal,
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        self.other.map(|other| self.ours / other)
    }

    /// True when the goal is met, or cannot be judged because the other program is absent.
    pub(crate) fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(limit) => self.ours <= limit,
            Goal::ShareOfOther(limit) => self.ratio().is_none_or(|ratio| ratio <= limit),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtMost(limit) => format!("<= {limit} {}", self.unit),
            Goal::ShareOfOther(limit) => format!("<= {limit:.2} x"),
        }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.name.to_owned(),
            format!("{:.2} {}", self.ours, self.unit),
            self.other.map_or_else(
                || "-".to_owned(),
                |other| format!("{other:.2} {}", self.unit),
            ),
            self.ratio()
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} x")),
            self.goal_text(),
            if self.is_met() { "met" } else { "MISSED" }.to_owned(),
        ]
    }
}

const HEAD: [&str; 6] = ["figure", "certagent", "compared with", "ratio", "goal", ""];

/// Aligned columns for a terminal.
pub(crate) fn text(figures: &[Figure]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(figures.iter().map(Figure::cells));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            write!(out, "{cell:width$}  ").unwrap();
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn markdown(figures: &[Figure]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(&HEAD.map(str::to_owned));
    out.push_str("|---|---|---|---|---|---|\n");
    for figure in figures {
        out.push_str(&line(&figure.cells()));
    }
    out
}

/// Puts the table between the two marks of the file; the words around it stay.
pub(crate) fn write(file: &Path, figures: &[Figure]) {
    let text = std::fs::read_to_string(file).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the begin mark is in the file");
    let (_, after) = rest.split_once(END).expect("the end mark is in the file");
    let text = format!("{before}{BEGIN}\n{}{END}{after}", markdown(figures));
    std::fs::write(file, text).unwrap();
}
