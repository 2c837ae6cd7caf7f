//! How a product is cut: tiles of the result for blocks, and terms for several blocks of one tile.
//!
//! The choice depends on sizes alone: it is made for a device of [`MULTIPROCESSORS`] multiprocessors, whichever runs it.

use super::form::Form;
use sslc_compiler::kernels::ir::Element;

/// Multiprocessors of the device that splits are chosen for: an H100.
const MULTIPROCESSORS: usize = 132;
/// Blocks that should be there for each multiprocessor.
const BLOCKS_EACH: usize = 2;
/// The fewest terms of a split.
const LEAST_TERMS: usize = 256;
/// Products that take the time of reading or writing a sum: half of what memory allows, as many sums are still in the cache.
const PASS_F32: f64 = 20.0;
const PASS_BF16: f64 = 180.0;
/// The most words of scratch that splits take.
const MOST_SCRATCH: usize = 1 << 24;

/// What a block computes, and by how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub m: usize,
    pub n: usize,
    /// Terms at a time.
    pub k: usize,
    pub threads: usize,
    /// Rows and columns of a thread (f32) or of a warp (bf16).
    pub rows: usize,
    pub columns: usize,
    /// Parts of the operands in shared memory at one time.
    pub stages: usize,
    /// Blocks that a multiprocessor should hold.
    pub resident: usize,
    /// Rows of the result that a thread (f32) or a warp (bf16) brings to shared memory at a time.
    pub slab: usize,
}

/// What all tiles for operands of one element type have in common.
struct Step {
    k: usize,
    stages: usize,
    slab: usize,
}

const F32_STEP: Step = Step {
    k: 16,
    stages: 2,
    slab: 4,
};

const BF16_STEP: Step = Step {
    k: 32,
    stages: 3,
    slab: 16,
};

impl Step {
    const fn tile(
        &self,
        m: usize,
        n: usize,
        threads: usize,
        rows: usize,
        columns: usize,
        resident: usize,
    ) -> Tile {
        Tile {
            m,
            n,
            k: self.k,
            threads,
            rows,
            columns,
            stages: self.stages,
            resident,
            slab: self.slab,
        }
    }
}

/// Tiles of f32 products: sums of a thread are `rows` × `columns`; a warp's threads lie 4 × 8.
const F32: [(Tile, f64); 6] = [
    (F32_STEP.tile(128, 128, 256, 8, 8, 2), 1.0),
    (F32_STEP.tile(128, 64, 128, 8, 8, 3), 0.95),
    (F32_STEP.tile(64, 128, 128, 8, 8, 3), 0.95),
    (F32_STEP.tile(64, 64, 128, 8, 4, 4), 0.8),
    (F32_STEP.tile(64, 32, 128, 4, 4, 6), 0.55),
    (F32_STEP.tile(32, 64, 128, 4, 4, 6), 0.55),
];

/// Tiles of bf16 products: sums of a warp are `rows` × `columns`.
const BF16: [(Tile, f64); 6] = [
    (BF16_STEP.tile(128, 128, 256, 64, 32, 2), 1.0),
    (BF16_STEP.tile(128, 64, 128, 64, 32, 3), 0.9),
    (BF16_STEP.tile(64, 128, 128, 64, 32, 3), 0.9),
    (BF16_STEP.tile(64, 64, 128, 32, 32, 4), 0.7),
    (BF16_STEP.tile(64, 32, 128, 32, 16, 5), 0.45),
    (BF16_STEP.tile(32, 64, 128, 16, 32, 5), 0.45),
];

/// All tiles for operands of an element type, with their speed beside the first's.
pub fn tiles(element: Element) -> &'static [(Tile, f64)] {
    match element {
        Element::F32 => &F32,
        Element::Bf16 => &BF16,
    }
}

/// A tile and the number of parts that terms are split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub tile: Tile,
    pub splits: usize,
    /// Steps of `tile.k` terms that a split has, the last one perhaps fewer.
    pub steps: usize,
}

impl Cut {
    /// The cut of a product whose operands are of `element`, with an epilogue or not: that of the least work by estimate.
    pub fn new(form: &Form, element: Element, epilogue: bool) -> Cut {
        let table = tiles(element);
        let pass = match element {
            Element::F32 => PASS_F32,
            Element::Bf16 => PASS_BF16,
        };
        let mut best: Option<(f64, Cut)> = None;
        for (tile, efficiency) in table {
            let cut = Cut::of(form, *tile);
            let blocks = cut.blocks(form);
            let work = (blocks * cut.steps * tile.k) as f64 * (tile.m * tile.n) as f64;
            // Sums of splits are written and read once more, and so is the result by an epilogue that is left.
            let passes = match cut.splits {
                1 => 0,
                splits => 2 * splits + if epilogue { 2 } else { 0 },
            };
            let again = (passes * form.shape[0] * form.shape[1]) as f64 * pass;
            let all = (MULTIPROCESSORS * BLOCKS_EACH * 256 / tile.threads.max(128)) as f64;
            let full = (blocks as f64 / all).min(1.0);
            let cost = (work / efficiency + again) / full;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, cut));
            }
        }
        best.map_or_else(|| Cut::of(form, table[0].0), |(_, cut)| cut)
    }

    /// A cut into tiles of one kind, and no splits.
    #[cfg(test)]
    pub fn whole(form: &Form, tile: Tile) -> Cut {
        let steps = form.k.div_ceil(tile.k).max(1);
        Cut {
            tile,
            splits: 1,
            steps,
        }
    }

    fn of(form: &Form, tile: Tile) -> Cut {
        let steps = form.k.div_ceil(tile.k).max(1);
        let whole = Cut {
            tile,
            splits: 1,
            steps,
        };
        if form.classes.is_some() {
            return whole;
        }
        let wanted = MULTIPROCESSORS * BLOCKS_EACH / whole.blocks(form).max(1);
        let room = MOST_SCRATCH / (form.shape[0] * form.shape[1]).max(1);
        let most = (form.k / LEAST_TERMS).max(1);
        let splits = wanted.min(room).min(most).max(1);
        let steps = steps.div_ceil(splits);
        Cut {
            tile,
            splits: form.k.div_ceil(tile.k).max(1).div_ceil(steps),
            steps,
        }
    }

    /// Tiles along rows and columns of one product.
    pub fn tiles(&self, form: &Form) -> [usize; 2] {
        [form.m.div_ceil(self.tile.m), form.n.div_ceil(self.tile.n)]
    }

    /// Blocks of all products.
    pub fn blocks(&self, form: &Form) -> usize {
        let [m, n] = self.tiles(form);
        m * n * form.products() * self.splits
    }
}
