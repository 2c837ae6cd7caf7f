//! What becomes of a block's sums: the epilogue, stores, and the block's part of reductions over rows.
//!
//! Sums go through shared memory, some rows at a time, so that a thread has columns of its own: it reads what the epilogue
//! needs of them once, and reduces them in registers.

use super::parameters::Parameters;
use super::text::block;
use crate::code::body::Point;
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::{
    Access, Buffer, BufferId, Combine, Element, Inst, LoopKernel, LoopOutput,
};

/// How the sums of a kernel end.
pub struct Ending<'a> {
    pub buffers: &'a [Buffer],
    pub result: BufferId,
    pub shape: [usize; 2],
    pub epilogue: Option<&'a LoopKernel>,
}

/// How an epilogue reads.
enum Reach {
    /// The result at its own point.
    Result,
    /// Another matrix of the result's shape at its own point.
    Own,
    /// A value of each column, from a place on.
    Column,
    /// Anything else: where it is used.
    Any,
}

/// Whether an epilogue can be evaluated along with the sums: it stores, and reduces over all rows.
pub fn is_fusible(epilogue: &LoopKernel) -> bool {
    epilogue.outputs.iter().all(|o| match &o.combine {
        Combine::Store => true,
        reduced => reduced.axes() == [0],
    })
}

/// The accumulator of a reduction, as the prelude names it.
pub fn accumulator(combine: &Combine) -> &'static str {
    match combine {
        Combine::Store | Combine::Sum(_) => "Sum",
        Combine::Max(_) => "Max",
        Combine::Deviations(_) => "Deviations",
    }
}

/// Words of 4 bytes of an accumulator.
pub fn accumulator_words(combine: &Combine) -> usize {
    match combine {
        Combine::Store | Combine::Sum(_) | Combine::Max(_) => 1,
        Combine::Deviations(_) => 3,
    }
}

impl<'a> Ending<'a> {
    /// Reductions over rows.
    pub fn reductions(&self) -> Vec<&'a LoopOutput> {
        let outputs = self.epilogue.map_or(&[][..], |e| &e.outputs);
        let reduced = outputs.iter().filter(|o| o.combine != Combine::Store);
        reduced.collect()
    }

    fn element(&self, id: BufferId) -> Element {
        self.buffers[id.0 as usize].element
    }

    fn reach(&self, access: &Access) -> Reach {
        let dense = access.is_dense(self.shape);
        if access.buffer == self.result && dense {
            Reach::Result
        } else if dense {
            Reach::Own
        } else if access.valid.iter().all(Option::is_none) && access.strides == [0, 1] {
            Reach::Column
        } else {
            Reach::Any
        }
    }

    fn loads(&self) -> impl Iterator<Item = (usize, &'a Access)> {
        let body = self.epilogue.map_or(&[][..], |e| &e.body);
        body.iter().enumerate().filter_map(|(r, inst)| match inst {
            Inst::Load(access) => Some((r, access)),
            _ => None,
        })
    }

    /// Whether the epilogue stores over the result.
    fn replaces_result(&self) -> bool {
        let outputs = self.epilogue.map_or(&[][..], |e| &e.outputs);
        outputs.iter().any(|o| o.to.buffer == self.result)
    }

    /// Adds the buffers that it reads and writes to the parameters.
    pub fn parameters(&self, parameters: &mut Parameters) {
        parameters.written(self.result, "result");
        let mut count = 0;
        for (_, access) in self.loads() {
            if parameters.name(access.buffer).is_none() {
                parameters.read(access.buffer, &format!("in{count}"));
                count += 1;
            }
        }
        let stores = self.epilogue.map_or(&[][..], |e| &e.outputs);
        for (o, output) in stores.iter().enumerate() {
            if output.combine == Combine::Store && parameters.name(output.to.buffer).is_none() {
                parameters.written(output.to.buffer, &format!("out{o}"));
            }
        }
    }

    /// Before the slabs: values of columns, and accumulators.
    pub fn setup(&self, w: &mut Writer, parameters: &Parameters) {
        let columns: Vec<_> = self
            .loads()
            .filter(|(_, a)| matches!(self.reach(a), Reach::Column))
            .collect();
        for (r, _) in &columns {
            w.line(format!("float column{r}[WIDE] = {{}};"));
        }
        if !columns.is_empty() {
            w.open("if (in_columns)");
            for (r, access) in &columns {
                let name = parameters.name(access.buffer).unwrap_or_default();
                let from = super::text::from(name, access.offset, "j0");
                if access.offset % 4 == 0 {
                    w.line(format!("load_all(column{r}, {from});"));
                } else {
                    block(
                        w,
                        &format!(
                            "#pragma unroll
                            for (int q = 0; q < WIDE; q++) {{
                            column{r}[q] = load({from} + q);
                            }}"
                        ),
                    );
                }
            }
            w.close();
        }
        let reductions = self.reductions();
        for (number, output) in reductions.iter().enumerate() {
            let kind = accumulator(&output.combine);
            block(
                w,
                &format!(
                    "{kind} reduced{number}[WIDE];
                    #pragma unroll
                    for (int q = 0; q < WIDE; q++) {{
                    reduced{number}[q] = {kind}::none();
                    }}"
                ),
            );
        }
        if self.has_deviations() {
            w.line("float seen = 0.0f;");
        }
    }

    /// Values that a thread holds of each column: of columns, of points, and to be reduced.
    pub fn values(&self) -> usize {
        let loads = self
            .loads()
            .filter(|(_, a)| matches!(self.reach(a), Reach::Own | Reach::Column));
        let outputs = self.epilogue.map_or(&[][..], |e| &e.outputs);
        let words = outputs.iter().map(|o| accumulator_words(&o.combine));
        loads.count() + words.sum::<usize>()
    }

    fn has_deviations(&self) -> bool {
        let all = self.reductions();
        all.iter()
            .any(|o| matches!(o.combine, Combine::Deviations(_)))
    }

    /// Row `i` of the result, from column `j0` on: `sum` holds its sums.
    pub fn row(&self, w: &mut Writer, parameters: &Parameters) {
        let Some(epilogue) = self.epilogue else {
            w.line("store_all(result + at, sum);");
            return;
        };
        let name = |b: BufferId| parameters.name(b).unwrap_or_default().to_string();
        for (r, access) in self.loads() {
            if matches!(self.reach(access), Reach::Own) {
                w.line(format!("float own{r}[WIDE];"));
                w.line(format!("load_all(own{r}, {} + at);", name(access.buffer)));
            }
        }
        if !self.replaces_result() {
            w.line("store_all(result + at, sum);");
        }
        let whole: Vec<bool> = epilogue
            .outputs
            .iter()
            .map(|o| o.combine == Combine::Store && o.to.is_dense(self.shape))
            .collect();
        for (o, _) in whole.iter().enumerate().filter(|(_, whole)| **whole) {
            w.line(format!("float stored{o}[WIDE];"));
        }
        if self.has_deviations() {
            w.line("seen += 1.0f;");
            w.line("const float share = 1.0f / seen;");
        }
        w.line("#pragma unroll");
        w.open("for (int q = 0; q < WIDE; q++)");
        w.line("const int j = j0 + q;");
        let rounded = self.element(self.result) == Element::Bf16;
        w.line(match rounded {
            true => "const float value = round_bf16(sum[q]);",
            false => "const float value = sum[q];",
        });
        let index = ["i".to_string(), "j".to_string()];
        let load = |r: usize, access: &Access| match self.reach(access) {
            Reach::Result => Some("value".to_string()),
            Reach::Own => Some(format!("own{r}[q]")),
            Reach::Column => Some(format!("column{r}[q]")),
            Reach::Any => None,
        };
        let point = Point {
            kernel: epilogue,
            index: &index,
            pointer: &name,
            load: &load,
            prefix: "v",
        };
        let wanted: Vec<_> = epilogue.outputs.iter().map(|o| o.value).collect();
        let values = point.evaluate(&wanted);
        w.lines(&values.lines);
        let mut reduction = 0;
        for (o, output) in epilogue.outputs.iter().enumerate() {
            let value = &values.registers[output.value as usize];
            match output.combine {
                Combine::Store if whole[o] => w.line(format!("stored{o}[q] = {value};")),
                Combine::Store => w.line(point.store(&output.to, value)),
                Combine::Deviations(_) => w.line(format!(
                    "add_nth(reduced{reduction}[q], {value}, seen, share);"
                )),
                Combine::Sum(_) | Combine::Max(_) => {
                    w.line(format!("reduced{reduction}[q].add({value});"));
                }
            }
            reduction += usize::from(output.combine != Combine::Store);
        }
        w.close();
        for (o, output) in epilogue.outputs.iter().enumerate() {
            if whole[o] {
                w.line(format!(
                    "store_all({} + at, stored{o});",
                    name(output.to.buffer)
                ));
            }
        }
    }

    /// After the slabs: the block's accumulators of its columns, to scratch.
    pub fn reduce(&self, w: &mut Writer) {
        for (number, output) in self.reductions().iter().enumerate() {
            let kind = accumulator(&output.combine);
            block(
                w,
                &format!(
                    "{{
                    {kind}* const all = ({kind}*)shared;
                    __syncthreads();
                    #pragma unroll
                    for (int q = 0; q < WIDE; q++) {{
                    all[down * TILE_N + along + q] = reduced{number}[q];
                    }}
                    __syncthreads();
                    if (thread < TILE_N && n0 + thread < N) {{
                    {kind} total = all[thread];
                    for (int d = 1; d < DOWN; d++) {{
                    total.merge(all[d * TILE_N + thread]);
                    }}
                    parts{number}[part_row * RESULT_COLUMNS + j0 - along + thread] = total;
                    }}
                    }}"
                ),
            );
        }
    }
}
