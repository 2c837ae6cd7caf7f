//! What follows the product in a function of its own: sums of splits, and reductions of blocks' parts.

use super::parameters::Parameters;
use super::result::accumulator;
use super::text::block;
use crate::code::draft::{Draft, NAME, blocks};
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::{Buffer, BufferId, LoopOutput};

/// Threads of a block that adds splits.
const THREADS: usize = 256;
/// Columns of a block that reduces parts.
const COLUMNS: usize = 8;
/// The most threads that share a column.
const MOST_DOWN: usize = 128;

/// Adds the sums of all splits, in order.
pub fn splits(
    buffers: &[Buffer],
    result: BufferId,
    [rows, columns]: [usize; 2],
    splits: usize,
    scratch: usize,
) -> Draft {
    let size = rows * columns;
    let wide = if size.is_multiple_of(4) { 4 } else { 1 };
    let mut parameters = Parameters::new(buffers);
    parameters.scratch(scratch, "const float", "splits");
    parameters.written(result, "result");
    let mut w = Writer::default();
    w.open(format!(
        "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(\n    {})",
        parameters.declared()
    ));
    block(
        &mut w,
        &format!(
            "constexpr int SIZE = {size}, SPLITS = {splits}, WIDE = {wide};
            const int at = (blockIdx.x * {THREADS} + threadIdx.x) * WIDE;
            if (at < SIZE) {{
            float sum[WIDE] = {{}};
            #pragma unroll 4
            for (int s = 0; s < SPLITS; s++) {{
            float part[WIDE];
            load_all(part, splits + s * SIZE + at);
            #pragma unroll
            for (int q = 0; q < WIDE; q++) {{
            sum[q] += part[q];
            }}
            }}
            store_all(result + at, sum);
            }}"
        ),
    );
    w.close();
    Draft {
        source: w.finish(),
        suffix: "_sum",
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: parameters.arguments,
        grid: [blocks(size / wide, THREADS), 1, 1],
    }
}

/// Merges the parts of each column, in a fixed order: `parts` rows of `columns` accumulators for each output.
pub fn columns(
    buffers: &[Buffer],
    outputs: &[&LoopOutput],
    scratch: &[usize],
    parts: usize,
    columns: usize,
) -> Draft {
    let down = parts.div_ceil(4).next_power_of_two().clamp(8, MOST_DOWN);
    let threads = down * COLUMNS;
    let mut parameters = Parameters::new(buffers);
    for (number, (output, at)) in outputs.iter().zip(scratch).enumerate() {
        let kind = format!("const {}", accumulator(&output.combine));
        parameters.scratch(*at, &kind, &format!("parts{number}"));
    }
    for (number, output) in outputs.iter().enumerate() {
        if parameters.name(output.to.buffer).is_none() {
            parameters.written(output.to.buffer, &format!("out{number}"));
        }
    }
    let mut w = Writer::default();
    w.open(format!(
        "extern \"C\" __global__ void __launch_bounds__({threads}) {NAME}(\n    {})",
        parameters.declared()
    ));
    block(
        &mut w,
        &format!(
            "constexpr int COLUMNS = {columns}, PARTS = {parts}, ACROSS = {COLUMNS}, DOWN = {down};
            const int column = blockIdx.x * ACROSS + threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;"
        ),
    );
    for (number, output) in outputs.iter().enumerate() {
        let kind = accumulator(&output.combine);
        let name = parameters.name(output.to.buffer).unwrap_or_default();
        let stride = output.to.strides.get(1).copied().unwrap_or(0);
        let to = super::text::from(name, output.to.offset, &format!("column * {stride}"));
        block(
            &mut w,
            &format!(
                "{{
                __shared__ __align__(16) unsigned char memory[sizeof({kind}) * ACROSS * DOWN];
                {kind}* const all = ({kind}*)memory;
                {kind} mine = {kind}::none();
                if (column < COLUMNS) {{
                #pragma unroll 4
                for (int part = down; part < PARTS; part += DOWN) {{
                mine.merge(parts{number}[part * COLUMNS + column]);
                }}
                }}
                all[threadIdx.x] = mine;
                #pragma unroll
                for (int by = DOWN / 2; by > 0; by /= 2) {{
                __syncthreads();
                if (down < by) {{
                all[threadIdx.x].merge(all[threadIdx.x + by * ACROSS]);
                }}
                }}
                if (down == 0 && column < COLUMNS) {{
                store({to}, all[threadIdx.x].result());
                }}
                }}"
            ),
        );
    }
    w.close();
    Draft {
        source: w.finish(),
        suffix: "_columns",
        threads: threads as u32,
        shared_bytes: 0,
        arguments: parameters.arguments,
        grid: [blocks(columns, COLUMNS), 1, 1],
    }
}
