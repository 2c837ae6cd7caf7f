//! The SVG: boxes and arrows above, the parts of each network below.

use super::flow::{Flow, Item, Kind};
use super::layout::{BOX_HEIGHT, BOX_WIDTH, Layout, Point};
use super::stages::Parts;
use crate::numbers::count;
use std::fmt::Write;

const MARGIN: f64 = 20.0;
/// Between the flow and the parts, and between two cards of parts.
const GAP: f64 = 34.0;
const CARD_WIDTH: f64 = 290.0;
const CARD_GAP: f64 = 18.0;
const CARD_HEAD: f64 = 48.0;
const ROW: f64 = 22.0;
/// As wide as text may make the drawing.
const LEGEND_WIDTH: f64 = 330.0;

const STYLE: &str = "\
svg { --back: #ffffff; --card: #f6f7f8; --line: #c9ced6; --text: #1d1f23; --soft: #666d78; --go: #5b6270; --stop: #b4232f; --view: #eef3fb; --target: #faf5ec; --loss: #eef7f0; }
@media (prefers-color-scheme: dark) { svg { --back: #1b1e22; --card: #22262b; --line: #444b55; --text: #e8e9eb; --soft: #9aa1ac; --go: #99a1ae; --stop: #ff8a8a; --view: #1f2a3a; --target: #322b1c; --loss: #1d3024; } }
text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif; font-size: 12px; fill: var(--soft); }
.back { fill: var(--back); } .box, .card { fill: var(--card); stroke: var(--line); } .view { fill: var(--view); } .target { fill: var(--target); stroke-dasharray: 5 4; } .loss { fill: var(--loss); }
.name { fill: var(--text); font-size: 14px; font-weight: 600; } .part { fill: var(--text); } .end { text-anchor: end; }
.go { fill: none; stroke: var(--go); stroke-width: 1.4; } .stop { fill: none; stroke: var(--stop); stroke-width: 1.4; stroke-dasharray: 5 4; } .bar { stroke: var(--stop); stroke-width: 2; }
.head { fill: var(--go); } .stophead { fill: var(--stop); } .rule { stroke: var(--line); }
";

/// The text of the file.
pub fn svg(name: &str, flow: &Flow, layout: &Layout, networks: &[Parts]) -> String {
    let stops = flow.arrows.iter().any(|a| a.stopped);
    let targets = flow.items.iter().any(|i| i.kind == Kind::Target);
    let cards: Vec<&Parts> = networks.iter().filter(|n| !n.target).collect();
    let cards_width = cards.len() as f64 * (CARD_WIDTH + CARD_GAP) - CARD_GAP;
    // Cards that do not stand beside each other under the flow go into rows.
    let inner = layout
        .width
        .max(CARD_WIDTH)
        .max(LEGEND_WIDTH)
        .max(cards_width.min(900.0));
    let per_row = (((inner + CARD_GAP) / (CARD_WIDTH + CARD_GAP)).floor() as usize).max(1);
    let mut body = String::new();
    let shift = ((inner - layout.width) / 2.0).max(0.0);
    for (arrow, way) in flow.arrows.iter().zip(&layout.arrows) {
        draw_arrow(&mut body, way, arrow.stopped, shift);
    }
    for (item, at) in flow.items.iter().zip(&layout.boxes) {
        draw_box(
            &mut body,
            item,
            (at.0 + shift, at.1),
            parameters(item, networks),
        );
    }
    let mut y = layout.height + 20.0;
    if stops || targets {
        draw_legend(&mut body, y, stops, targets);
        y += 24.0;
    }
    y += GAP - 20.0;
    for row in cards.chunks(per_row) {
        let mut tallest: f64 = 0.0;
        for (i, parts) in row.iter().enumerate() {
            let x = i as f64 * (CARD_WIDTH + CARD_GAP);
            tallest = tallest.max(draw_card(&mut body, (x, y), parts));
        }
        y += tallest + CARD_GAP;
    }
    let (width, height) = (inner + 2.0 * MARGIN, y - CARD_GAP + 2.0 * MARGIN);
    let title = escape(&format!("{name}: views, networks and loss"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n<g transform=\"translate({MARGIN} {MARGIN})\">\n{body}</g>\n</svg>\n"
    )
}

/// The parameters of a box's network.
fn parameters(item: &Item, networks: &[Parts]) -> Option<usize> {
    let own = networks
        .iter()
        .find(|n| n.name == item.name && n.role == item.role);
    own.map(|n| n.parameters)
}

fn draw_box(out: &mut String, item: &Item, (x, y): Point, parameters: Option<usize>) {
    let class = match item.kind {
        Kind::View | Kind::Labels => "box view",
        Kind::Network => "box",
        Kind::Target => "box target",
        Kind::Loss => "box loss",
    };
    let name = fitted(&item.name, 9);
    let below = match parameters {
        Some(n) => format!("{} · {} params", item.shape, short_count(n)),
        None => item.shape.clone(),
    };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"8\"/>"
    );
    let (left, right) = (x + 12.0, x + BOX_WIDTH - 12.0);
    let (first, second) = (y + 22.0, y + 41.0);
    text(out, "name", left, first, &name);
    if item.kind == Kind::Target {
        text(out, "end", right, first, "target");
    } else if !item.role.is_empty() {
        text(out, "end", right, first, &item.role);
    }
    text(out, "shape", left, second, &fitted(&below, 23));
}

fn draw_arrow(out: &mut String, way: &[Point], stopped: bool, shift: f64) {
    let (Some(first), Some(last)) = (way.first(), way.last()) else {
        return;
    };
    let mut path = format!("M{:.1} {:.1}", first.0 + shift, first.1);
    for pair in way.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // The head of the arrow takes the place of the last pixels.
        let end = if pair[1] == *last { x1 - 7.0 } else { x1 };
        let bend = (end - x0) / 2.0;
        let _ = write!(
            path,
            " C{:.1} {y0:.1} {:.1} {y1:.1} {:.1} {y1:.1}",
            x0 + bend + shift,
            end - bend + shift,
            end + shift
        );
    }
    let (line, head) = if stopped {
        ("stop", "stophead")
    } else {
        ("go", "head")
    };
    let _ = writeln!(out, "<path class=\"{line}\" d=\"{path}\"/>");
    let (x, y) = (last.0 + shift, last.1);
    let _ = writeln!(
        out,
        "<path class=\"{head}\" d=\"M{x:.1} {y:.1} l-8 -4 v8 z\"/>"
    );
    if stopped {
        // Two bars across the middle of the first bend.
        let next = way[1];
        let (mx, my) = (
            (first.0 + next.0 - 7.0) / 2.0 + shift,
            (first.1 + next.1) / 2.0,
        );
        bars(out, mx, my);
    }
}

fn bars(out: &mut String, x: f64, y: f64) {
    let _ = writeln!(
        out,
        "<path class=\"bar\" d=\"M{:.1} {:.1} v14 M{:.1} {:.1} v14\"/>",
        x - 2.5,
        y - 7.0,
        x + 2.5,
        y - 7.0
    );
}

fn draw_legend(out: &mut String, y: f64, stops: bool, targets: bool) {
    let mut x = 0.0;
    if stops {
        let _ = writeln!(
            out,
            "<path class=\"stop\" d=\"M{x:.1} {:.1} h34\"/>",
            y + 8.0
        );
        bars(out, x + 17.0, y + 8.0);
        text(out, "key", x + 42.0, y + 12.0, "stop-gradient");
        x += 144.0;
    }
    if targets {
        let _ = writeln!(
            out,
            "<rect class=\"box target\" x=\"{x:.1}\" y=\"{:.1}\" width=\"26\" height=\"14\" rx=\"4\"/>",
            y + 1.0
        );
        text(
            out,
            "key",
            x + 34.0,
            y + 12.0,
            "moving average, no gradient",
        );
    }
}

/// Draws what a network is made of and returns the height.
fn draw_card(out: &mut String, (x, y): Point, parts: &Parts) -> f64 {
    let height = CARD_HEAD + parts.stages.len() as f64 * ROW + 8.0;
    let _ = writeln!(
        out,
        "<rect class=\"card\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CARD_WIDTH}\" height=\"{height:.1}\" rx=\"8\"/>"
    );
    let (left, right) = (x + 14.0, x + CARD_WIDTH - 14.0);
    text(
        out,
        "name",
        left,
        y + 25.0,
        &fitted(&format!("{} {}", parts.role, parts.name), 20),
    );
    text(
        out,
        "end",
        right,
        y + 25.0,
        &format!("{} parameters", count(parts.parameters as u64)),
    );
    let _ = writeln!(
        out,
        "<path class=\"rule\" d=\"M{x:.1} {:.1} h{CARD_WIDTH}\"/>",
        y + CARD_HEAD - 9.0
    );
    for (i, stage) in parts.stages.iter().enumerate() {
        let base = y + CARD_HEAD + i as f64 * ROW + 11.0;
        let times = if stage.blocks > 1 {
            format!(" × {}", stage.blocks)
        } else {
            String::new()
        };
        text(
            out,
            "part",
            left,
            base,
            &fitted(&format!("{}{times}", stage.name), 20),
        );
        text(out, "end", right - 76.0, base, &fitted(&stage.shape, 14));
        text(out, "end", right, base, &count(stage.parameters as u64));
    }
    height
}

fn text(out: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escape(words)
    );
}

/// At most so many characters; what is cut off is marked.
fn fitted(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}

/// `912`, `78.0k`, `23.5M`
fn short_count(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{:.1}k", n as f64 / 1e3),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
