//! Layout: text with places where a line may break, and the printer that decides which do.
//!
//! A document is built once and printed in one pass with an explicit stack. Text, once printed, never changes the
//! layout before it. Comments are [`suffix`](Doc::suffix)es: they wait for the end of the line they fall on, so that
//! they never swallow code.

use std::borrow::Cow;

/// How wide a line may be, in characters.
pub(super) const WIDTH: usize = 110;
/// By how much a level is indented.
pub(super) const INDENT: usize = 4;

/// A piece of layout.
#[derive(Debug)]
pub(super) struct Doc<'a> {
    node: Node<'a>,
    /// Whether it holds a line break that is not up for choice.
    hard: bool,
}

#[derive(Debug)]
enum Node<'a> {
    Text(Cow<'a, str>),
    /// Text that only stands where lines do not break.
    Flat(&'static str),
    /// A space, or a line break.
    Line,
    /// Nothing, or a line break.
    Soft,
    Hard,
    /// A line break and an empty line.
    Blank,
    Suffix(&'a str),
    Concat(Vec<Doc<'a>>),
    /// Lines in it are indented by one level more.
    Nest(Box<Doc<'a>>),
    /// Lines in it start in the column where it starts.
    Align(Box<Doc<'a>>),
    /// All its lines break, or none.
    Group(Box<Doc<'a>>),
    /// As many parts on each line as fit; the flag forces a break behind a part.
    Fill(Vec<(Doc<'a>, bool)>),
}

impl<'a> Doc<'a> {
    fn soft(node: Node<'a>) -> Doc<'a> {
        Doc { node, hard: false }
    }

    pub fn nil() -> Doc<'a> {
        Doc::concat(Vec::new())
    }

    pub fn text(text: impl Into<Cow<'a, str>>) -> Doc<'a> {
        Doc::soft(Node::Text(text.into()))
    }

    /// Text that only stands where the group around it is on one line.
    pub fn flat(text: &'static str) -> Doc<'a> {
        Doc::soft(Node::Flat(text))
    }

    pub fn line() -> Doc<'a> {
        Doc::soft(Node::Line)
    }

    pub fn soft_line() -> Doc<'a> {
        Doc::soft(Node::Soft)
    }

    pub fn hard_line() -> Doc<'a> {
        Doc {
            node: Node::Hard,
            hard: true,
        }
    }

    /// A line break, with an empty line if `blank`.
    pub fn break_line(blank: bool) -> Doc<'a> {
        Doc {
            node: if blank { Node::Blank } else { Node::Hard },
            hard: true,
        }
    }

    /// A comment that goes to the end of the line.
    pub fn suffix(comment: &'a str) -> Doc<'a> {
        Doc::soft(Node::Suffix(comment))
    }

    pub fn concat(docs: Vec<Doc<'a>>) -> Doc<'a> {
        Doc {
            hard: docs.iter().any(|d| d.hard),
            node: Node::Concat(docs),
        }
    }

    pub fn nest(self) -> Doc<'a> {
        Doc {
            hard: self.hard,
            node: Node::Nest(Box::new(self)),
        }
    }

    pub fn align(self) -> Doc<'a> {
        Doc {
            hard: self.hard,
            node: Node::Align(Box::new(self)),
        }
    }

    pub fn group(self) -> Doc<'a> {
        Doc {
            hard: self.hard,
            node: Node::Group(Box::new(self)),
        }
    }

    pub fn fill(parts: Vec<(Doc<'a>, bool)>) -> Doc<'a> {
        let last = parts.len().saturating_sub(1);
        Doc {
            hard: parts
                .iter()
                .enumerate()
                .any(|(i, (doc, forced))| doc.hard || (*forced && i < last)),
            node: Node::Fill(parts),
        }
    }

    pub fn is_hard(&self) -> bool {
        self.hard
    }

    /// The width on one line; `None` if it has a line break that must be.
    pub fn flat_width(&self) -> Option<usize> {
        if self.hard {
            return None;
        }
        let mut width = 0;
        let mut stack = vec![self];
        while let Some(doc) = stack.pop() {
            match &doc.node {
                Node::Text(text) => width += chars(text),
                Node::Flat(text) => width += chars(text),
                Node::Line => width += 1,
                Node::Soft | Node::Hard | Node::Blank | Node::Suffix(_) => {}
                Node::Concat(docs) => stack.extend(docs),
                Node::Nest(doc) | Node::Align(doc) | Node::Group(doc) => stack.push(doc),
                Node::Fill(parts) => {
                    width += parts.len().saturating_sub(1);
                    stack.extend(parts.iter().map(|(d, _)| d));
                }
            }
        }
        Some(width)
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flat,
    Break,
}

/// What is left to print.
#[derive(Clone, Copy)]
enum Work<'d, 'a> {
    Doc(&'d Doc<'a>),
    /// The parts of a fill from an index on; the line before the part is still to be decided.
    Fill(&'d [(Doc<'a>, bool)], usize),
}

#[derive(Clone, Copy)]
struct Task<'d, 'a> {
    indent: usize,
    mode: Mode,
    work: Work<'d, 'a>,
}

struct Printer<'a> {
    out: String,
    column: usize,
    suffixes: Vec<&'a str>,
}

/// The text of a document, with a line break at its end if it is not empty.
pub(super) fn print(doc: &Doc<'_>) -> String {
    let mut printer = Printer {
        out: String::new(),
        column: 0,
        suffixes: Vec::new(),
    };
    let mut stack = vec![Task {
        indent: 0,
        mode: Mode::Break,
        work: Work::Doc(doc),
    }];
    while let Some(task) = stack.pop() {
        printer.step(task, &mut stack);
    }
    printer.end_line();
    if !printer.out.is_empty() {
        printer.out.push('\n');
    }
    printer.out
}

impl<'a> Printer<'a> {
    /// Puts the comments that wait and takes away spaces at the end of the line.
    fn end_line(&mut self) {
        let trimmed = self.out.trim_end_matches(' ').len();
        self.out.truncate(trimmed);
        for comment in self.suffixes.drain(..) {
            if !self.out.is_empty() && !self.out.ends_with('\n') {
                self.out.push(' ');
            }
            self.out.push_str(comment);
        }
    }

    fn new_line(&mut self, indent: usize, blank: bool) {
        self.end_line();
        self.out.push('\n');
        if blank {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += chars(text);
    }

    fn step<'d>(&mut self, task: Task<'d, 'a>, stack: &mut Vec<Task<'d, 'a>>) {
        let Task { indent, mode, work } = task;
        let doc = match work {
            Work::Doc(doc) => doc,
            Work::Fill(parts, i) => return self.fill(parts, i, indent, stack),
        };
        let push = |indent, mode, doc| Task {
            indent,
            mode,
            work: Work::Doc(doc),
        };
        match (&doc.node, mode) {
            (Node::Text(text), _) => self.text(text),
            (Node::Flat(text), Mode::Flat) => self.text(text),
            (Node::Flat(_), Mode::Break) => {}
            (Node::Line, Mode::Flat) => self.text(" "),
            (Node::Soft, Mode::Flat) => {}
            (Node::Line | Node::Soft, Mode::Break) | (Node::Hard, _) => {
                self.new_line(indent, false);
            }
            (Node::Blank, _) => self.new_line(indent, true),
            (Node::Suffix(comment), _) => self.suffixes.push(comment),
            (Node::Concat(docs), _) => {
                stack.extend(docs.iter().rev().map(|d| push(indent, mode, d)));
            }
            (Node::Nest(doc), _) => stack.push(push(indent + INDENT, mode, doc)),
            (Node::Align(doc), _) => stack.push(push(self.column, mode, doc)),
            (Node::Group(doc), Mode::Flat) => stack.push(push(indent, Mode::Flat, doc)),
            (Node::Group(doc), Mode::Break) => {
                let mode = if fits(doc, stack, self.column) {
                    Mode::Flat
                } else {
                    Mode::Break
                };
                stack.push(push(indent, mode, doc));
            }
            (Node::Fill(parts), Mode::Flat) => {
                for (i, (doc, _)) in parts.iter().enumerate().rev() {
                    stack.push(push(indent, Mode::Flat, doc));
                    if i > 0 {
                        stack.push(push(indent, Mode::Flat, &SPACE));
                    }
                }
            }
            (Node::Fill(parts), Mode::Break) => self.fill(parts, 0, indent, stack),
        }
    }

    /// Prints part `i` of a fill, on this line if it fits.
    fn fill<'d>(
        &mut self,
        parts: &'d [(Doc<'a>, bool)],
        i: usize,
        indent: usize,
        stack: &mut Vec<Task<'d, 'a>>,
    ) {
        let Some((doc, _)) = parts.get(i) else {
            return;
        };
        // The last part has to leave room for what follows the fill.
        let rest: &[Task<'d, 'a>] = if i + 1 == parts.len() { stack } else { &[] };
        if i > 0 {
            if !parts[i - 1].1 && fits(doc, rest, self.column + 1) {
                self.text(" ");
            } else {
                self.new_line(indent, false);
            }
        }
        let mode = if fits(doc, rest, self.column) {
            Mode::Flat
        } else {
            Mode::Break
        };
        if i + 1 < parts.len() {
            stack.push(Task {
                indent,
                mode: Mode::Break,
                work: Work::Fill(parts, i + 1),
            });
        }
        stack.push(Task {
            indent,
            mode,
            work: Work::Doc(doc),
        });
    }
}

static SPACE: Doc<'static> = Doc {
    node: Node::Line,
    hard: false,
};

/// Whether `doc` on one line, with what follows up to the next possible line break, ends within the width.
fn fits<'d>(doc: &'d Doc<'_>, rest: &[Task<'d, '_>], column: usize) -> bool {
    if doc.hard || column > WIDTH {
        return false;
    }
    let mut left = WIDTH - column;
    let mut rest = rest.iter().rev();
    let mut stack = vec![(Mode::Flat, doc)];
    loop {
        let (mode, doc) = match stack.pop() {
            Some(next) => next,
            None => match rest.next() {
                Some(Task {
                    mode,
                    work: Work::Doc(doc),
                    ..
                }) => (*mode, *doc),
                // The next part of a fill may go on a line of its own.
                Some(_) | None => return true,
            },
        };
        let width = match (&doc.node, mode) {
            (Node::Text(text), _) => chars(text),
            (Node::Flat(text), Mode::Flat) => chars(text),
            (Node::Flat(_), Mode::Break) => 0,
            (Node::Line, Mode::Flat) => 1,
            (Node::Soft, Mode::Flat) | (Node::Suffix(_), _) => 0,
            (Node::Line | Node::Soft | Node::Fill(_), Mode::Break)
            | (Node::Hard | Node::Blank, _) => return true,
            (Node::Concat(docs), _) => {
                stack.extend(docs.iter().rev().map(|d| (mode, d)));
                0
            }
            (Node::Nest(doc) | Node::Align(doc) | Node::Group(doc), _) => {
                stack.push((mode, doc));
                0
            }
            (Node::Fill(parts), Mode::Flat) => {
                for (i, (doc, _)) in parts.iter().enumerate().rev() {
                    stack.push((mode, doc));
                    if i > 0 {
                        stack.push((mode, &SPACE));
                    }
                }
                0
            }
        };
        match left.checked_sub(width) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
}
