//! The fleet for people: tables and bars.

use crate::{
    fleet::{
        Sweep,
        page::{LEGEND, cell},
    },
    model::{
        duration,
        fleet::{Row, RowState, anchors, summary},
        time::Timestamp,
    },
    terminal::{Screen, Style},
};

/// Cells of the bar of a life.
const LIFE_CHARS: usize = 8;

/// Lines about what is wrong below one row.
const MAX_TROUBLES: usize = 2;

const HEAD: [&str; 12] = [
    "STATE",
    "COMPONENT",
    "INSTANCE",
    "NODE",
    "LEFT",
    "RENEWS",
    "SERVES",
    "SERIAL",
    "ISSUER",
    "ANCHORS",
    "VERSION",
    "ADDRESS",
];

/// Columns that only `-o wide` has.
const WIDE: usize = 2;

pub(super) fn style(state: RowState) -> Style {
    match state {
        RowState::Ready => Style::Good,
        RowState::Degraded => Style::Warning,
        _ => Style::Bad,
    }
}

pub(super) fn table(sweep: &Sweep, wide: bool, screen: Screen) -> String {
    let count = if wide { HEAD.len() } else { HEAD.len() - WIDE };
    let rows: Vec<Vec<String>> = sweep
        .rows
        .iter()
        .map(|row| cells(row, sweep.at, wide))
        .collect();
    let heads: Vec<String> = HEAD[..count].iter().map(|&head| head.to_owned()).collect();
    let widths: Vec<usize> = (0..count).map(|at| widest(&heads, &rows, at)).collect();
    let mut text = screen.paint(Style::Faint, &line(&heads, &widths, None));
    text.push('\n');
    for (row, cells) in sweep.rows.iter().zip(&rows) {
        let style = style(row.state);
        text.push_str(&line(cells, &widths, Some((screen, style, row, sweep.at))));
        text.push('\n');
        for trouble in row.troubles.iter().take(MAX_TROUBLES) {
            text.push_str(&format!("    {}\n", screen.paint(style, trouble)));
        }
    }
    let counts = summary(&sweep.rows).into_iter();
    let counts: Vec<String> = counts
        .map(|(state, count)| screen.paint(style(state), &format!("{count} {}", state.name())))
        .collect();
    let phase = sweep.change.phase(&sweep.rows).words();
    let ends = sweep
        .rows
        .iter()
        .filter_map(|row| row.leaf.as_ref())
        .map(|leaf| leaf.not_after)
        .min();
    let ends = ends.map_or_else(String::new, |at| {
        format!(
            "; the first certificate expires in {}",
            duration::brief(sweep.at.until(at))
        )
    });
    text.push_str(&format!(
        "\n{} instances: {}{ends}; trust: {phase}\n",
        sweep.rows.len(),
        counts.join(", ")
    ));
    text
}

fn widest(heads: &[String], rows: &[Vec<String>], at: usize) -> usize {
    let cells = rows
        .iter()
        .filter_map(|row| row.get(at))
        .chain(heads.get(at));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}

fn line(
    cells: &[String],
    widths: &[usize],
    row: Option<(Screen, Style, &Row, Timestamp)>,
) -> String {
    let padded = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(at, (cell, width))| {
            let cell = format!("{cell:width$}");
            match row {
                Some((screen, style, _, _)) if HEAD[at] == "STATE" => screen.paint(style, &cell),
                Some((screen, style, row, now)) if HEAD[at] == "LEFT" && screen.is_terminal() => {
                    match &row.leaf {
                        Some(leaf) => {
                            let bar = screen.cells(leaf.left(now), LIFE_CHARS, style);
                            format!("{bar} {cell}")
                        }
                        None => format!("{} {cell}", " ".repeat(LIFE_CHARS)),
                    }
                }
                None if HEAD[at] == "LEFT" => cell,
                _ => cell,
            }
        });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn cells(row: &Row, now: Timestamp, wide: bool) -> Vec<String> {
    let none = || "-".to_owned();
    let leaf = row.leaf.as_ref();
    let short = |text: &str, chars: usize| match text {
        "" => none(),
        text if wide => text.to_owned(),
        text => text.chars().take(chars).collect(),
    };
    let anchors: Vec<&str> = row.anchors.iter().map(|one| one.short()).collect();
    let due = leaf.and_then(|leaf| leaf.due);
    let mut cells = vec![
        row.state.name().to_owned(),
        short(&row.who.component, 24),
        if wide {
            short(&row.who.instance, 0)
        } else {
            short(row.who.short(), 24)
        },
        short(&row.who.node, 24),
        leaf.map_or_else(none, |leaf| {
            format!(
                "{} ({:.0} %)",
                duration::brief(now.until(leaf.not_after)),
                leaf.left(now) * 100.0
            )
        }),
        due.map_or_else(none, |due| {
            if due <= now {
                "due".to_owned()
            } else {
                duration::brief(now.until(due))
            }
        }),
        short(leaf.map_or("", |leaf| &leaf.serving), 12),
        short(leaf.map_or("", |leaf| &leaf.serial), 17),
        short(leaf.map_or("", |leaf| &leaf.issuer), 36),
        if anchors.is_empty() {
            none()
        } else {
            anchors.join(",")
        },
    ];
    if wide {
        cells.extend([short(&row.version, 0), short(&row.who.address, 0)]);
    }
    cells
}

/// Anchors by instances, and what the marks mean.
pub(super) fn matrix(sweep: &Sweep, screen: Screen) -> String {
    let known = anchors(&sweep.rows);
    let mut text = String::new();
    for anchor in &known {
        let (short, mark) = (anchor.short(), sweep.change.mark(anchor));
        text.push_str(&format!("{short}  {mark:3}  {}\n", anchor.subject));
    }
    let width = sweep
        .rows
        .iter()
        .map(|row| row.who.label().chars().count())
        .max()
        .unwrap_or(0);
    let heads: Vec<String> = known
        .iter()
        .map(|one| format!("{:8}", one.short()))
        .collect();
    let head = format!("{:width$}  {}", "INSTANCE", heads.join("  "));
    text.push_str(&format!(
        "\n{}\n",
        screen.paint(Style::Faint, head.trim_end())
    ));
    for row in &sweep.rows {
        let cells: Vec<String> = known
            .iter()
            .map(|one| format!("{:8}", cell(row, one)))
            .collect();
        let label = format!("{:width$}", row.who.label());
        text.push_str(
            format!(
                "{}  {}",
                screen.paint(style(row.state), &label),
                cells.join("  ")
            )
            .trim_end(),
        );
        text.push('\n');
    }
    text + LEGEND + "\n"
}
