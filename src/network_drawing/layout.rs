//! Where boxes and arrows go: layers from left to right by the longest way from a view, arrows over several layers held in
//! lanes of their own, and the order in a layer by the middle of the neighbours (Sugiyama et al. 1981).

use super::flow::Flow;

pub const BOX_WIDTH: f64 = 152.0;
pub const BOX_HEIGHT: f64 = 54.0;
/// Between two layers, and between two boxes of a layer.
const ACROSS: f64 = 66.0;
const DOWN: f64 = 22.0;
/// The height of a lane that an arrow passes a layer in.
const LANE: f64 = 14.0;
const SWEEPS: usize = 8;

/// A point of the drawing.
pub type Point = (f64, f64);

/// Places in pixels from the upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The upper left corner of each item's box.
    pub boxes: Vec<Point>,
    /// The points that each arrow goes through, from box to box.
    pub arrows: Vec<Vec<Point>>,
    pub width: f64,
    pub height: f64,
}

/// A box or an arrow's lane in one layer.
struct Slot {
    layer: usize,
    height: f64,
    /// The middle.
    y: f64,
    neighbours: [Vec<usize>; 2],
}

impl Layout {
    pub fn of(flow: &Flow) -> Layout {
        let layers = layers(flow);
        let mut slots: Vec<Slot> = layers
            .iter()
            .map(|layer| Slot {
                layer: *layer,
                height: BOX_HEIGHT,
                y: 0.0,
                neighbours: [Vec::new(), Vec::new()],
            })
            .collect();
        // The slots that each arrow passes, its ends included.
        let mut ways = Vec::new();
        for arrow in &flow.arrows {
            let mut way = vec![arrow.from];
            for layer in layers[arrow.from] + 1..layers[arrow.to] {
                way.push(slots.len());
                slots.push(Slot {
                    layer,
                    height: LANE,
                    y: 0.0,
                    neighbours: [Vec::new(), Vec::new()],
                });
            }
            way.push(arrow.to);
            for pair in way.windows(2) {
                slots[pair[0]].neighbours[1].push(pair[1]);
                slots[pair[1]].neighbours[0].push(pair[0]);
            }
            ways.push(way);
        }
        let count = layers.iter().max().map_or(0, |l| l + 1);
        let mut columns: Vec<Vec<usize>> = (0..count)
            .map(|l| (0..slots.len()).filter(|s| slots[*s].layer == l).collect())
            .collect();
        for column in &columns {
            stack(&mut slots, column);
        }
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            for step in 0..count {
                let layer = if forward { step } else { count - 1 - step };
                arrange(&mut slots, &mut columns[layer], usize::from(!forward));
            }
        }
        let top = slots
            .iter()
            .map(|s| s.y - s.height / 2.0)
            .fold(f64::INFINITY, f64::min);
        let bottom = slots
            .iter()
            .map(|s| s.y + s.height / 2.0)
            .fold(f64::NEG_INFINITY, f64::max);
        let left = |layer: usize| layer as f64 * (BOX_WIDTH + ACROSS);
        let boxes = (0..flow.items.len())
            .map(|i| (left(slots[i].layer), slots[i].y - BOX_HEIGHT / 2.0 - top))
            .collect();
        let arrows = ways
            .iter()
            .map(|way| points(way, &slots, top, left))
            .collect();
        Layout {
            boxes,
            arrows,
            width: (left(count) - ACROSS).max(0.0),
            height: (bottom - top).max(0.0),
        }
    }
}

/// Views first; everything else behind what it reads.
fn layers(flow: &Flow) -> Vec<usize> {
    let mut layers = vec![0; flow.items.len()];
    for to in 0..flow.items.len() {
        let before = flow.arrows.iter().filter(|a| a.to == to);
        layers[to] = before.map(|a| layers[a.from] + 1).max().unwrap_or(0);
    }
    layers
}

/// One under the other, in the order of the column.
fn stack(slots: &mut [Slot], column: &[usize]) {
    let mut y = 0.0;
    for slot in column {
        slots[*slot].y = y + slots[*slot].height / 2.0;
        y += slots[*slot].height + DOWN;
    }
}

/// Orders a column by the middle of its neighbours on one side, and moves it there as far as there is room.
fn arrange(slots: &mut [Slot], column: &mut [usize], side: usize) {
    let wanted = |slot: usize| {
        let near = &slots[slot].neighbours[side];
        if near.is_empty() {
            slots[slot].y
        } else {
            near.iter().map(|n| slots[*n].y).sum::<f64>() / near.len() as f64
        }
    };
    let mut order: Vec<(f64, usize)> = column.iter().map(|s| (wanted(*s), *s)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    let mut moved = 0.0;
    for (place, (y, slot)) in order.iter().enumerate() {
        let half = slots[*slot].height / 2.0;
        let at = y.max(free + half);
        free = at + half + DOWN;
        moved += at - y;
        slots[*slot].y = at;
        column[place] = *slot;
    }
    // Those that had to go down take the others up with them.
    let back = moved / order.len().max(1) as f64;
    column.iter().for_each(|s| slots[*s].y -= back);
}

/// From the right side of the first box, along the lanes, to the left side of the last.
fn points(way: &[usize], slots: &[Slot], top: f64, left: impl Fn(usize) -> f64) -> Vec<Point> {
    let mut points = Vec::new();
    for (i, slot) in way.iter().enumerate() {
        let (x, y) = (left(slots[*slot].layer), slots[*slot].y - top);
        if i > 0 {
            points.push((x, y));
        }
        if i + 1 < way.len() {
            points.push((x + BOX_WIDTH, y));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::flow::{Arrow, Item, Kind};
    use super::*;

    fn flow(items: usize, arrows: &[(usize, usize)]) -> Flow {
        let item = |i: usize| Item {
            kind: Kind::Network,
            name: format!("n{i}"),
            role: String::new(),
            shape: String::new(),
        };
        Flow {
            items: (0..items).map(item).collect(),
            arrows: arrows
                .iter()
                .map(|(from, to)| Arrow {
                    from: *from,
                    to: *to,
                    stopped: false,
                })
                .collect(),
        }
    }

    #[test]
    fn boxes_never_overlap_and_arrows_go_right() {
        // Two views through f and g to a loss that reads a view as well.
        let arrows = [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (0, 6)];
        let layout = Layout::of(&flow(7, &arrows));
        for (i, a) in layout.boxes.iter().enumerate() {
            for b in &layout.boxes[..i] {
                let apart = (a.0 - b.0).abs() >= BOX_WIDTH || (a.1 - b.1).abs() >= BOX_HEIGHT;
                assert!(apart, "{a:?} {b:?}");
            }
            assert!(a.1 >= 0.0 && a.1 + BOX_HEIGHT <= layout.height + 1e-9);
            assert!(a.0 + BOX_WIDTH <= layout.width + 1e-9);
        }
        for way in &layout.arrows {
            assert!(way.windows(2).all(|p| p[0].0 < p[1].0), "{way:?}");
        }
        // The long arrow keeps clear of the boxes that it passes.
        for (x, y) in &layout.arrows[6][1..5] {
            let hit = layout.boxes.iter().any(|b| {
                (b.0..=b.0 + BOX_WIDTH).contains(x) && (b.1..=b.1 + BOX_HEIGHT).contains(y)
            });
            assert!(!hit, "{x} {y}");
        }
    }

    #[test]
    fn nothing_to_draw_is_no_panic() {
        let layout = Layout::of(&flow(0, &[]));
        assert_eq!((layout.width, layout.boxes.len()), (0.0, 0));
    }
}
