//! The order of the kernels, what is let go and made again, and the places of the buffers: of what was tried, the best.
//!
//! Without a limit, values that are cheap to make again are let go, and the order that needs least memory is taken. With
//! one, as little as possible is made again: of the orders that fit, the fastest is taken.

use super::bind::Bound;
use super::ir::BufferKind;
use super::plan::{plan, room};
use super::recompute::{Goal, Recomputed, recompute};
use super::schedule::orders;
use super::summary::size;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// Kernels in an order, over buffers that have their places.
#[derive(Clone, Debug)]
pub struct Arranged {
    pub bound: Bound,
    pub order: Vec<usize>,
    /// Words of the arena.
    pub arena_len: usize,
    /// Estimated seconds of the kernels that make values again.
    pub seconds: f64,
}

/// Placing can take more room than is live at once; the limit on what is live is lowered this often to make up for it.
const TRIES: usize = 4;

/// Arranges kernels in an arena of at most `memory` bytes, if that is given.
///
/// # Errors
/// E0704 where no arrangement was found that fits.
pub fn arrange(bound: &Bound, memory: Option<u64>) -> Result<Arranged, Diagnostic> {
    let orders = orders(bound);
    let mut best: Option<Arranged> = None;
    let Some(memory) = memory else {
        for order in &orders {
            let arranged = placed(recompute(bound, order, Goal::CHEAP));
            if best
                .as_ref()
                .is_none_or(|b| arranged.arena_len < b.arena_len)
            {
                best = Some(arranged);
            }
        }
        return Ok(best.unwrap_or_else(|| placed(recompute(bound, &[], Goal::CHEAP))));
    };
    let words = usize::try_from(memory / 4).unwrap_or(usize::MAX);
    let mut least = usize::MAX;
    for order in &orders {
        let arranged = fitted(bound, order, words);
        least = least.min(arranged.arena_len);
        let better = best.as_ref().is_none_or(|b| arranged.seconds < b.seconds);
        if arranged.arena_len <= words && better {
            best = Some(arranged);
        }
    }
    best.ok_or_else(|| {
        Diagnostic::new(
            codes::E0704,
            format!(
                "the tensors of a step take {}, and `memory` allows {}",
                size(4 * least as u64),
                size(memory)
            ),
        )
        .help(format!(
            "{} is the least that making values again reaches: raise `memory`, or make `batch` smaller",
            size(4 * least as u64)
        ))
    })
}

/// As little made again as fits into an arena of so many words; where that cannot be, the least arena.
fn fitted(bound: &Bound, order: &[usize], words: usize) -> Arranged {
    let fixed: usize = bound
        .buffers
        .iter()
        .filter(|b| b.kind != BufferKind::Temporary)
        .map(room)
        .sum();
    let mut goal = words.saturating_sub(fixed);
    let mut best = placed(recompute(bound, order, Goal::Words(goal)));
    for _ in 1..TRIES {
        let Some(over) = best.arena_len.checked_sub(words).filter(|over| *over > 0) else {
            break;
        };
        goal = goal.saturating_sub(over);
        let next = placed(recompute(bound, order, Goal::Words(goal)));
        if next.arena_len < best.arena_len {
            best = next;
        }
    }
    best
}

fn placed(recomputed: Recomputed) -> Arranged {
    let Recomputed {
        mut bound,
        order,
        seconds,
        ..
    } = recomputed;
    let arena_len = plan(&mut bound, &order);
    Arranged {
        bound,
        order,
        arena_len,
        seconds,
    }
}
