//! CUDA C of contractions, with their prologues and epilogues.
//!
//! One generator makes them all: a contraction is a product of matrices ([`form`]), cut into tiles ([`tiles`]) that blocks bring
//! to shared memory ([`operand`], [`made`]), multiply ([`product`]) and finish ([`result`]).
//!
//! - [`form`]: contractions as products of matrices.
//! - [`tiles`]: tiles and splits, chosen by size.
//! - [`operand`]: how an operand's tile comes to shared memory; [`made`]: where a prologue makes it.
//! - [`product`]: sums in f32, and of bf16 on the tensor cores.
//! - [`result`]: the epilogue and the stores.
//! - [`kernel`]: the whole function; [`finish`]: the functions after it. [`parameters`], [`text`]: parts of them.

mod finish;
mod form;
mod kernel;
mod made;
mod operand;
mod parameters;
mod product;
mod result;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod tiles;

use super::draft::Drafts;
use form::Form;
use kernel::Kernel;
use result::Ending;
use sslc_compiler::kernels::ir::{Buffer, Contraction, LoopKernel};
use tiles::Cut;

/// The launches of a contraction, and the loop that must run after them: the epilogue, where it is not part of them.
pub fn contraction<'a>(
    contraction: &'a Contraction,
    prologue: Option<&'a LoopKernel>,
    epilogue: Option<&'a LoopKernel>,
    buffers: &'a [Buffer],
) -> (Drafts, Option<&'a LoopKernel>) {
    let form = Form::new(contraction);
    let element = buffers[form.a.buffer.0 as usize].element;
    let cut = Cut::new(&form, element, epilogue.is_some());
    of_cut(&form, cut, prologue, epilogue, buffers)
}

/// The same, cut in a given way.
fn of_cut<'a>(
    form: &Form,
    cut: Cut,
    prologue: Option<&'a LoopKernel>,
    epilogue: Option<&'a LoopKernel>,
    buffers: &'a [Buffer],
) -> (Drafts, Option<&'a LoopKernel>) {
    let fused = epilogue.filter(|e| cut.splits == 1 && result::is_fusible(e));
    let rest = epilogue.filter(|_| fused.is_none());
    let ending = Ending {
        buffers,
        result: form.result,
        shape: form.shape,
        epilogue: fused,
    };
    let reductions = ending.reductions();
    let [rows, columns] = form.shape;
    let parts = Kernel::parts(form, &cut);
    let mut scratch = Vec::new();
    let mut words = 0;
    if cut.splits > 1 {
        scratch.push(0);
        words = cut.splits * rows * columns;
    }
    for output in &reductions {
        scratch.push(words);
        let size = parts * columns * result::accumulator_words(&output.combine);
        words += size.next_multiple_of(16);
    }
    let mut launches = vec![
        Kernel {
            form,
            cut,
            buffers,
            prologue,
            ending,
            scratch: scratch.clone(),
        }
        .draft(),
    ];
    if cut.splits > 1 {
        let sum = finish::splits(buffers, form.result, form.shape, cut.splits, scratch[0]);
        launches.push(sum);
    } else if !reductions.is_empty() {
        let merge = finish::columns(buffers, &reductions, &scratch, parts, columns);
        launches.push(merge);
    }
    let drafts = Drafts {
        launches,
        scratch_words: words,
    };
    (drafts, rest)
}
