//! A drawing of what a spec computes, at the level of its networks: views, networks, loss. `sslc graph SPEC --format svg`.
//!
//! - [`flow`]: which network reads what, from the graph of the forward pass. [`stages`]: what a network is made of.
//! - [`layout`]: where boxes and arrows go. [`draw`]: the SVG.
mod draw;
mod flow;
mod layout;
mod stages;

use sslc_compiler::program::Program;

/// The drawing as the text of an SVG file, in colours for light and dark surroundings.
pub fn svg(program: &Program) -> String {
    let flow = flow::Flow::of(program);
    let layout = layout::Layout::of(&flow);
    let networks = stages::networks(program);
    draw::svg(&program.name, &flow, &layout, &networks)
}
