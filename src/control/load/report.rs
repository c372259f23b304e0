//! What is wrong with a file, or with the command line, and where.
//!
//! Owns positions and how problems look. Refuses to judge: the readers do.

use core::cell::RefCell;
use core::fmt::Write;
use core::ops::Range;

use crate::failure::{Exit, Failure};

/// Byte offsets into the file.
pub(in crate::control) type Span = Range<usize>;

/// Problems shown at once; further ones are only counted.
const SHOWN_MAX: usize = 20;
/// Characters of the offending line that are shown, around the position.
const EXCERPT_MAX: usize = 100;

/// Collects the problems of one file.
pub(in crate::control) struct Report<'a> {
    name: &'a str,
    text: &'a str,
    /// Where the text of the command line begins, which may follow that of the file.
    command_line: usize,
    problems: RefCell<Vec<Problem>>,
}

struct Problem {
    /// None: something is missing from the file as a whole.
    span: Option<Span>,
    what: String,
    fix: String,
}

impl<'a> Report<'a> {
    pub(in crate::control) fn new(name: &'a str, text: &'a str) -> Report<'a> {
        Report::with_command_line(name, text, usize::MAX)
    }

    /// A file and a command line that adds to it, in one text: the command line begins at `command_line`.
    pub(in crate::control) fn with_command_line(name: &'a str, text: &'a str, command_line: usize) -> Report<'a> {
        Report { name, text, command_line, problems: RefCell::new(Vec::new()) }
    }

    /// Where `part` of the value `written` at `span` is; the whole value if escapes hide it.
    pub(in crate::control) fn within(&self, span: &Span, written: &str, part: Span) -> Span {
        match self.text.get(span.clone()).and_then(|source| source.find(written)) {
            Some(at) => span.start + at + part.start..span.start + at + part.end.max(part.start + 1),
            None => span.clone(),
        }
    }

    /// Something wrong at `span`.
    pub(in crate::control) fn add(&self, span: Span, what: impl Into<String>, fix: impl Into<String>) {
        let fix = fix.into().split('\n').map(|line| line.chars().map(printable).collect()).collect::<Vec<String>>();
        self.problems.borrow_mut().push(Problem { span: Some(span), what: what.into(), fix: fix.join("\n") });
    }

    /// Something the file lacks as a whole.
    pub(in crate::control) fn add_missing(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { span: None, what: what.into(), fix: fix.into() });
    }

    /// How many problems there are.
    pub(in crate::control) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The number of the line where `span` begins.
    pub(in crate::control) fn line(&self, span: &Span) -> usize {
        self.position(span.start).0
    }

    /// The failure that shows every problem, in file order.
    pub(in crate::control) fn check(&self) -> Result<(), Failure> {
        let mut problems = self.problems.borrow_mut();
        problems.sort_by_key(|p| p.span.as_ref().map_or(usize::MAX, |span| span.start));
        match &problems[..] {
            [] => Ok(()),
            [one] => Err(Failure::new(Exit::Config, self.show(one)).fix(&one.fix)),
            several => {
                let mut what = format!("{}: {} problems", self.name, several.len());
                for problem in several.iter().take(SHOWN_MAX) {
                    let fix = problem.fix.replace('\n', "\n       ");
                    let _ = write!(what, "\n\n{}\n  fix: {fix}", self.show(problem));
                }
                if several.len() > SHOWN_MAX {
                    let _ = write!(what, "\n\nand {} more", several.len() - SHOWN_MAX);
                }
                Err(Failure::new(Exit::Config, what))
            }
        }
    }

    fn show(&self, problem: &Problem) -> String {
        let what: String = problem.what.chars().map(printable).collect();
        let Some(span) = &problem.span else { return format!("{}: {what}", self.name) };
        let (line, column) = self.position(span.start);
        let is_file = span.start < self.command_line;
        let mut text = if is_file {
            format!("{}:{line}:{column}: {what}", self.name)
        } else {
            format!("the command line: {what}")
        };
        let full = self.source(span.start).0.split('\n').nth(line - 1).unwrap_or("").trim_end();
        let width = self.text.get(span.clone()).map_or(1, |t| t.split('\n').next().unwrap_or("").chars().count());
        // A window around the position, so that a very long line stays readable.
        let skipped = (column - 1).saturating_sub(EXCERPT_MAX / 2);
        let excerpt: String = full.chars().skip(skipped).take(EXCERPT_MAX).map(printable).collect();
        let before = column - 1 - skipped;
        let carets = width.min(excerpt.chars().count().saturating_sub(before)).max(1);
        let number = if is_file { line.to_string() } else { String::new() };
        let gutter = " ".repeat(number.len());
        let _ = write!(text, "\n  {number} | {excerpt}\n  {gutter} | {}{}", " ".repeat(before), "^".repeat(carets));
        text
    }

    /// The text that holds a byte, and where it begins.
    fn source(&self, offset: usize) -> (&'a str, usize) {
        let start = if offset < self.command_line { 0 } else { self.command_line };
        (self.text.get(start..).unwrap_or(""), start)
    }

    /// Line and column of a byte, from one; columns are characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let (text, start) = self.source(offset);
        let mut offset = (offset - start).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Keeps escape sequences of a hostile file away from the terminal, and one column a character.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}
