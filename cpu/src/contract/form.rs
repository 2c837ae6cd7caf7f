//! How a contraction's elements are stored and multiplied, and what follows from that for its operands.

use super::operands::{Moves, Products};
use super::simd::Kernels;
use super::window::{Bring, Chunks};
use crate::level::Level;
use sslc_compiler::kernels::ir::Element;

/// How a contraction's elements are stored and multiplied.
#[derive(Clone, Copy)]
pub struct Form {
    pub level: Level,
    pub products: Products,
    /// What the result is stored as.
    pub element: Element,
    /// Elements that stay in the cache for each of the result; see [`ContractionPlan::new`](super::ContractionPlan::new).
    pub kept: usize,
}

impl Form {
    pub fn kernels(&self) -> Kernels {
        Kernels::new(self.level, self.products)
    }

    pub fn moves(&self) -> Moves {
        Moves::new(self.level)
    }

    /// Windows whose channels are the inner index.
    pub fn row_windows(&self) -> (Bring, Moves) {
        let bring = match self.products {
            Products::F32 | Products::Pairs => Bring::Copy(self.products.stored()),
            Products::Widened => Bring::Widen,
        };
        (bring, self.moves())
    }

    /// Chunks of which there are two, where pairs lie side by side.
    pub fn lanes(&self, chunks: Chunks) -> Chunks {
        if self.products == Products::Pairs {
            chunks.halved_if_one()
        } else {
            chunks
        }
    }

    /// Windows whose pixels are the inner index.
    pub fn column_windows(&self) -> (Bring, Moves) {
        let bring = match self.products {
            Products::F32 => Bring::Copy(self.products.stored()),
            Products::Pairs => Bring::Pair,
            Products::Widened => Bring::Widen,
        };
        (bring, self.moves())
    }
}
