//! Colour, bars, tables and the spinner: how results look on a terminal and in a pipe.
//!
//! Never decides what to say. What stays true: without a terminal, or with NO_COLOR, plain text.

use std::{
    io::{self, IsTerminal as _, Write as _},
    pin::pin,
    time::Duration,
};

use tokio::time::{self, Instant};

pub use crate::model::foreign::harmless;

/// An answer that takes longer than this shows a spinner.
const SPINNER_DELAY: Duration = Duration::from_millis(500);

/// How often the spinner turns.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// The spinner's pictures.
const FRAMES: [char; 8] = ['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];

/// Back to the start of the line, and nothing in it (ECMA-48, 8.3.41).
const CLEAR_LINE: &str = "\r\x1b[K";

/// To the upper left corner, and clear what is below (ECMA-48, 8.3.21 and 8.3.39).
pub const CLEAR_SCREEN: &str = "\x1b[H\x1b[J";

/// Cells of a bar.
const BAR_CHARS: usize = 30;

/// What text means; a colour on a terminal, nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Names of things, less important than the things.
    Faint,
    /// A heading.
    Strong,
}

impl Style {
    /// Parameters of "select graphic rendition" (ECMA-48, 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }

    /// `text` in this colour.
    #[must_use]
    pub fn paint(self, text: &str) -> String {
        format!("\x1b[{}m{text}\x1b[0m", self.code())
    }
}

/// Where results go, and what may be shown there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// Plain text: a pipe or a file.
    pub const PLAIN: Self = Self {
        terminal: false,
        colour: false,
    };

    /// Standard output; `variable` looks up the environment.
    #[must_use]
    pub fn stdout<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::of(io::stdout().is_terminal(), variable)
    }

    /// Standard error; `variable` looks up the environment.
    #[must_use]
    pub fn stderr<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self::of(io::stderr().is_terminal(), variable)
    }

    /// Colour needs a terminal that can do it and a user who wants it (no-color.org: any text in
    /// NO_COLOR that is not empty says no).
    fn of<'a>(terminal: bool, variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let refused = variable("NO_COLOR").is_some_and(|text| !text.is_empty());
        let dumb = variable("TERM") == Some("dumb");
        Self {
            terminal,
            colour: terminal && !refused && !dumb,
        }
    }

    /// Is there a person at the other end?
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// `text` in the colour of its meaning, where colour is shown.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() {
            style.paint(text)
        } else {
            text.to_owned()
        }
    }

    /// Two columns, the first as wide as its widest label; further lines of a value are indented.
    #[must_use]
    pub fn table(self, rows: &[(&str, String)]) -> String {
        let width = rows
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (label, value) in rows {
            let label = self.paint(Style::Faint, &format!("{label:width$}"));
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            text.push_str(&format!("  {label}  {first}\n"));
            for line in lines {
                text.push_str(&format!("  {:width$}  {line}\n", ""));
            }
        }
        text
    }

    /// How much is left of something: a bar on a terminal, the percentage everywhere.
    #[must_use]
    pub fn bar(self, left: f64) -> String {
        let left = if left.is_finite() {
            left.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let percent = format!("{:.0} %", left * 100.0);
        if !self.terminal {
            return percent;
        }
        let style = match left {
            _ if left < 0.1 => Style::Bad,
            _ if left < 1.0 / 3.0 => Style::Warning,
            _ => Style::Good,
        };
        format!("{} {percent}", self.cells(left, BAR_CHARS, style))
    }

    /// A part of a whole as a bar of so many cells.
    #[must_use]
    pub fn cells(self, part: f64, count: usize, style: Style) -> String {
        let full = ((part.clamp(0.0, 1.0) * count as f64).round() as usize).min(count);
        let bar = self.paint(style, &"█".repeat(full));
        format!("{bar}{}", "░".repeat(count - full))
    }

    /// Columns of the terminal, where there is one that says.
    #[must_use]
    pub fn columns(self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|count| self.terminal && *count > 0)
    }

    /// Waits for `work`; on a terminal a spinner with `message` turns on stderr once it has taken
    /// more than half a second, and is gone when it ends.
    pub async fn wait_for<F: Future>(self, message: &str, work: F) -> F::Output {
        if !self.terminal {
            return work.await;
        }
        let (mut turns, began) = (0, Instant::now());
        let result = turning(work, || {
            let frame = FRAMES[turns % FRAMES.len()];
            draw(&format!(
                "{frame} {message} ({} s)",
                began.elapsed().as_secs()
            ));
            turns += 1;
        })
        .await;
        if turns > 0 {
            draw("");
        }
        result
    }
}

/// Replaces the line on stderr, if that is a terminal: no file gets the spinner.
fn draw(line: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        // A terminal that went away must not end the work.
        let _gone = write!(out, "{CLEAR_LINE}{line}").and_then(|()| out.flush());
    }
}

/// Drives `work` and calls `turn` regularly once the patience is over.
async fn turning<F: Future>(work: F, mut turn: impl FnMut()) -> F::Output {
    let mut work = pin!(work);
    let mut pause = SPINNER_DELAY;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = time::sleep(pause) => turn(),
        }
        pause = FRAME_INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(terminal: bool, pairs: &'static [(&str, &str)]) -> Screen {
        let variable = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| *value)
        };
        Screen::of(terminal, variable)
    }

    #[test]
    fn colour_needs_a_terminal_and_no_no_color() {
        let red = "\x1b[31mx\x1b[0m";
        assert_eq!(screen(true, &[]).paint(Style::Bad, "x"), red);
        assert_eq!(
            screen(true, &[("NO_COLOR", "")]).paint(Style::Bad, "x"),
            red
        );
        for plain in [
            screen(true, &[("NO_COLOR", "1")]),
            screen(true, &[("TERM", "dumb")]),
            screen(false, &[]),
            Screen::PLAIN,
        ] {
            assert_eq!(plain.paint(Style::Bad, "x"), "x");
        }
    }

    #[test]
    fn a_bar_is_drawn_on_a_terminal_only_and_stays_in_its_frame() {
        let terminal = screen(true, &[("NO_COLOR", "1")]);
        assert_eq!(
            terminal.bar(0.5),
            format!("{}{} 50 %", "█".repeat(15), "░".repeat(15))
        );
        for (left, full) in [(-1.0, 0), (2.0, 30), (f64::NAN, 0), (0.999, 30)] {
            assert_eq!(terminal.bar(left).matches('█').count(), full, "{left}");
            assert_eq!(terminal.bar(left).matches('░').count(), 30 - full);
        }
        assert_eq!(Screen::PLAIN.bar(0.634), "63 %");
    }

    #[test]
    fn a_table_lines_up_and_indents_further_lines() {
        let rows = [("a", "1".to_owned()), ("label", "2\n3".to_owned())];
        assert_eq!(
            Screen::PLAIN.table(&rows),
            "  a      1\n  label  2\n         3\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_spinner_turns_after_half_a_second_and_not_before() {
        let turns = async |millis| {
            let mut turns = 0;
            let work = async {
                time::sleep(Duration::from_millis(millis)).await;
                7
            };
            assert_eq!(turning(work, || turns += 1).await, 7);
            turns
        };
        assert_eq!(turns(0).await, 0);
        assert_eq!(turns(490).await, 0);
        assert_eq!(turns(550).await, 1);
        assert_eq!(turns(1_550).await, 11);
    }
}
