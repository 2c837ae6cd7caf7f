//! C text in blocks.

pub use crate::code::draft::c_type;
use crate::code::writer::Writer;

/// Writes lines that are indented by their braces: a line that ends with `{` opens a block, a line `}` closes one.
pub fn block(w: &mut Writer, text: &str) {
    for line in text.lines() {
        let line = line.trim();
        match line {
            "" => {}
            "}" => w.close(),
            "{" => w.open(""),
            _ => match line.strip_suffix(" {") {
                Some(head) => w.open(head),
                None => w.line(line),
            },
        }
    }
}

/// `name + offset + index`
pub fn from(name: &str, offset: i64, index: &str) -> String {
    match offset {
        0 => format!("{name} + {index}"),
        _ => format!("{name} + {offset} + {index}"),
    }
}
