//! Things that stand one below the other, each on a line of its own: items, bindings, settings.
//!
//! Names or `=` signs that the author put in one column stay in one: neighbouring rows whose sign stands in the column
//! that the longest of them needs. Any other padding goes.

use super::doc::Doc;
use super::{Formatter, Lead};

/// One row: `keyword name = value`, with the widths of the two gaps as the author has them.
pub(super) struct Row<'a> {
    lead: Vec<Lead<'a>>,
    /// Whether an empty line stands before it (behind its comments).
    blank: bool,
    head: Head<'a>,
    tail: Doc<'a>,
}

/// What stands before the `=`.
pub(super) enum Head<'a> {
    /// A row without `=`, or one that takes no part in columns.
    Whole(Doc<'a>),
    Name {
        name: Doc<'a>,
        gap: usize,
    },
    Keyword {
        keyword: Doc<'a>,
        keyword_gap: usize,
        name: Doc<'a>,
        gap: usize,
    },
}

impl<'a> Row<'a> {
    /// A row that starts at the next token.
    pub fn start(formatter: &Formatter<'a>) -> Row<'a> {
        let (lead, blank) = formatter.lead();
        Row {
            lead,
            blank,
            head: Head::Whole(Doc::nil()),
            tail: Doc::nil(),
        }
    }

    pub fn with(mut self, head: Head<'a>, tail: Doc<'a>) -> Row<'a> {
        self.head = head;
        self.tail = tail;
        self
    }

    /// Adds to the end of the row.
    pub fn push(&mut self, doc: Doc<'a>) {
        let tail = std::mem::replace(&mut self.tail, Doc::nil());
        self.tail = Doc::concat(vec![tail, doc]);
    }

    /// Whether an empty line stands somewhere between this row and the one before.
    fn apart(&self) -> bool {
        self.blank || self.lead.iter().any(|(_, blank)| *blank)
    }
}

/// The rows one below the other.
pub(super) fn stack(mut rows: Vec<Row<'_>>) -> Doc<'_> {
    align(&mut rows);
    let mut docs = Vec::new();
    for row in rows {
        for (comment, blank) in row.lead {
            if !docs.is_empty() {
                docs.push(Doc::break_line(blank));
            }
            docs.push(Doc::text(comment));
        }
        if !docs.is_empty() {
            docs.push(Doc::break_line(row.blank));
        }
        match row.head {
            Head::Whole(doc) => docs.push(doc),
            Head::Name { name, gap } => docs.extend([name, spaces(gap)]),
            Head::Keyword {
                keyword,
                keyword_gap,
                name,
                gap,
            } => docs.extend([keyword, spaces(keyword_gap), name, spaces(gap)]),
        }
        docs.push(row.tail);
    }
    Doc::concat(docs)
}

/// Comments at the end of a block or file, below its rows.
pub(super) fn closing<'a>(lead: Vec<Lead<'a>>, mut first: bool) -> Vec<Doc<'a>> {
    let mut docs = Vec::new();
    for (comment, blank) in lead {
        if !first {
            docs.push(Doc::break_line(blank));
        }
        first = false;
        docs.push(Doc::text(comment));
    }
    docs
}

fn spaces<'a>(count: usize) -> Doc<'a> {
    Doc::text(" ".repeat(count))
}

fn align(rows: &mut [Row<'_>]) {
    let apart: Vec<bool> = rows.iter().map(Row::apart).collect();
    let keywords: Vec<Option<(usize, usize)>> = rows
        .iter()
        .map(|row| match &row.head {
            Head::Keyword {
                keyword,
                keyword_gap,
                ..
            } => Some((keyword.flat_width()?, *keyword_gap)),
            _ => None,
        })
        .collect();
    for (row, width) in rows.iter_mut().zip(columns(&keywords, &apart)) {
        if let Head::Keyword { keyword_gap, .. } = &mut row.head {
            *keyword_gap = width;
        }
    }
    let heads: Vec<Option<(usize, usize)>> = rows
        .iter()
        .map(|row| match &row.head {
            Head::Whole(_) => None,
            Head::Name { name, gap } => Some((name.flat_width()?, *gap)),
            Head::Keyword {
                keyword,
                keyword_gap,
                name,
                gap,
            } => Some((
                keyword.flat_width()? + keyword_gap + name.flat_width()?,
                *gap,
            )),
        })
        .collect();
    for (row, width) in rows.iter_mut().zip(columns(&heads, &apart)) {
        if let Head::Name { gap, .. } | Head::Keyword { gap, .. } = &mut row.head {
            *gap = width;
        }
    }
}

/// The gaps to write, from the widths before them and the gaps in the source: a run of rows whose gaps end in one
/// column keeps it if the longest row has a gap of one space.
fn columns(rows: &[Option<(usize, usize)>], apart: &[bool]) -> Vec<usize> {
    let mut gaps = vec![1; rows.len()];
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        if let Some((width, gap)) = rows[start] {
            let column = width + gap;
            while end < rows.len()
                && !apart[end]
                && rows[end].is_some_and(|(width, gap)| width + gap == column)
            {
                end += 1;
            }
            let run = rows[start..end].iter().flatten();
            if run.clone().map(|(width, _)| width + 1).max() == Some(column) {
                for (gap, (_, source)) in gaps[start..end].iter_mut().zip(run) {
                    *gap = *source;
                }
            }
        }
        start = end;
    }
    gaps
}

/// The rows on one line with separators between them, or one below the other where the group around them breaks.
pub(super) fn in_line<'a>(rows: Vec<Row<'a>>, separator: &'static str) -> Doc<'a> {
    let mut docs = Vec::new();
    for row in rows {
        if !docs.is_empty() {
            docs.push(Doc::flat(separator));
        }
        docs.push(Doc::line());
        match row.head {
            Head::Whole(doc) => docs.push(doc),
            Head::Name { name, .. } => docs.extend([name, Doc::text(" ")]),
            Head::Keyword { keyword, name, .. } => {
                docs.extend([keyword, Doc::text(" "), name, Doc::text(" ")]);
            }
        }
        docs.push(row.tail);
    }
    Doc::concat(docs)
}
