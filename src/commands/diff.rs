//! `sslc diff`: how two specs differ after evaluation.

use crate::cli::DiffArgs;
use crate::compile::{Failure, compile};
use crate::difference::{self, Line};
use crate::report::{Reporter, print};
use console::{Style, colors_enabled};

/// Prints the difference; with `exit_code`, 1 where there is one.
pub fn run(args: &DiffArgs, reporter: Reporter) -> Result<u8, Failure> {
    let first = compile(&args.first, &args.overrides)?;
    super::warn(&first, reporter);
    let second = compile(&args.second, &args.overrides)?;
    super::warn(&second, reporter);
    let sections = difference::between(&first.program, &second.program);
    if sections.is_empty() {
        print("the specs train the same\n");
        return Ok(0);
    }
    let mut out = format!(
        "--- {}\n+++ {}\n",
        args.first.display(),
        args.second.display()
    );
    let paint = |style: Style, text: String| match colors_enabled() {
        true => style.apply_to(text).to_string(),
        false => text,
    };
    for section in &sections {
        out.push_str(&paint(Style::new().bold(), section.title.to_owned()));
        out.push('\n');
        for line in &section.lines {
            let style = match line {
                Line::Minus(_) => Style::new().red(),
                Line::Plus(_) => Style::new().green(),
                Line::Both(_) => Style::new(),
            };
            out.push_str(&paint(style, format!("  {line}\n")));
        }
    }
    print(&out);
    Ok(u8::from(args.exit_code))
}
