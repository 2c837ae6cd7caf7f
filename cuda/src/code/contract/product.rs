//! The sums of a block: products of the tiles in shared memory.
//!
//! In f32 a thread has `ROWS` × `COLUMNS` sums, and a warp's threads lie 4 × 8. In bf16 a warp multiplies matrices of 16 × 16 and
//! 16 × 8 on the tensor cores.

use super::operand::{Loader, Way};
use super::text::block;
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::Element;

/// The sums and where a thread's or a warp's lie in the tile.
pub fn setup(w: &mut Writer, a: &Loader, b: &Loader) {
    let tile = a.tile;
    match a.element {
        Element::F32 => {
            let warps_n = tile.n / (8 * tile.columns);
            let (row, column) = (
                if a.along_k() {
                    "lane / 8"
                } else {
                    "lane / 8 * 4"
                },
                if b.along_k() {
                    "lane % 8"
                } else {
                    "lane % 8 * 4"
                },
            );
            block(
                w,
                &format!(
                    "// A thread has ROWS x COLUMNS sums; a warp's threads lie 4 x 8.
                    constexpr int ROWS = {}, COLUMNS = {}, WARP_ROWS = 4 * ROWS;
                    const int warp_m = warp / {warps_n}, warp_n = warp % {warps_n};
                    const int first_row = warp_m * WARP_ROWS + {row};
                    const int first_column = warp_n * 8 * COLUMNS + {column};
                    float sums[ROWS][COLUMNS] = {{}};",
                    tile.rows, tile.columns
                ),
            );
        }
        Element::Bf16 => {
            let warps_n = tile.n / tile.columns;
            block(
                w,
                &format!(
                    "// A warp has WARP_ROWS x WARP_COLUMNS sums, in matrices of 16 x 8.
                    constexpr int WARP_ROWS = {}, WARP_COLUMNS = {};
                    const int warp_m = warp / {warps_n}, warp_n = warp % {warps_n};
                    float sums[WARP_ROWS / 16][WARP_COLUMNS / 8][4] = {{}};",
                    tile.rows, tile.columns
                ),
            );
        }
    }
}

/// Adds the products of a stage's tiles.
pub fn multiply(w: &mut Writer, a: &Loader, b: &Loader) {
    let element = super::text::c_type(a.element);
    block(
        w,
        &format!(
            "const {element}* const a_part = a_tiles + stage * A_TILE;
            const {element}* const b_part = b_tiles + stage * B_TILE;"
        ),
    );
    match a.element {
        Element::F32 => by_threads(w, a, b),
        Element::Bf16 => by_warps(w, a, b),
    }
}

/// Terms of a thread's rows that are in registers at one time: as wide as its reads along k, fewer where the block leaves
/// a thread fewer registers.
fn depth(a: &Loader) -> usize {
    match (a.tile.threads > 128, a.way() == Way::Carried) {
        (true, true) => 1,
        (true, false) | (false, true) => 2,
        (false, false) => 4,
    }
}

fn by_threads(w: &mut Writer, a: &Loader, b: &Loader) {
    block(
        w,
        &format!(
            "constexpr int DEPTH = {};
            #pragma unroll 1
            for (int k = 0; k < TILE_K; k += DEPTH) {{
            float left[ROWS][DEPTH];",
            depth(a),
        ),
    );
    block(
        w,
        match a.along_k() {
            true => {
                "#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                load_all(left[i], a_part + (first_row + 4 * i) * A_PITCH + k);
                }"
            }
            false => {
                "#pragma unroll
                for (int q = 0; q < DEPTH; q++) {
                #pragma unroll
                for (int i = 0; i < ROWS; i += 4) {
                float four[4];
                load4(four, a_part + (k + q) * A_PITCH + first_row + 4 * i);
                #pragma unroll
                for (int o = 0; o < 4; o++) {
                left[i + o][q] = four[o];
                }
                }
                }"
            }
        },
    );
    block(
        w,
        match b.along_k() {
            true => {
                "#pragma unroll
                for (int j = 0; j < COLUMNS; j++) {
                float right[DEPTH];
                load_all(right, b_part + (first_column + 8 * j) * B_PITCH + k);
                #pragma unroll
                for (int q = 0; q < DEPTH; q++) {
                #pragma unroll
                for (int i = 0; i < ROWS; i++) {
                sums[i][j] = fmaf(left[i][q], right[q], sums[i][j]);
                }
                }
                }
                }"
            }
            false => {
                "#pragma unroll
                for (int q = 0; q < DEPTH; q++) {
                #pragma unroll
                for (int j = 0; j < COLUMNS; j += 4) {
                float right[4];
                load4(right, b_part + (k + q) * B_PITCH + first_column + 8 * j);
                #pragma unroll
                for (int o = 0; o < 4; o++) {
                #pragma unroll
                for (int i = 0; i < ROWS; i++) {
                sums[i][j + o] = fmaf(left[i][q], right[o], sums[i][j + o]);
                }
                }
                }
                }
                }"
            }
        },
    );
}

fn by_warps(w: &mut Writer, a: &Loader, b: &Loader) {
    block(
        w,
        "#pragma unroll
        for (int k = 0; k < TILE_K; k += 16) {
        unsigned left[WARP_ROWS / 16][4], right[WARP_COLUMNS / 16][4];
        #pragma unroll
        for (int i = 0; i < WARP_ROWS / 16; i++) {",
    );
    block(
        w,
        match a.along_k() {
            true => {
                "const int row = warp_m * WARP_ROWS + i * 16 + lane % 16;
                matrices(left[i], a_part + row * A_PITCH + k + lane / 16 * 8);"
            }
            false => {
                "const int row = warp_m * WARP_ROWS + i * 16 + lane / 8 % 2 * 8;
                matrices_turned(left[i], a_part + (k + lane / 16 * 8 + lane % 8) * A_PITCH + row);"
            }
        },
    );
    block(
        w,
        "}
        #pragma unroll
        for (int j = 0; j < WARP_COLUMNS / 16; j++) {",
    );
    block(
        w,
        match b.along_k() {
            true => {
                "const int column = warp_n * WARP_COLUMNS + j * 16 + lane / 16 * 8 + lane % 8;
                matrices(right[j], b_part + column * B_PITCH + k + lane / 8 % 2 * 8);"
            }
            false => {
                "const int column = warp_n * WARP_COLUMNS + j * 16 + lane / 16 * 8;
                matrices_turned(right[j], b_part + (k + lane / 8 % 2 * 8 + lane % 8) * B_PITCH + column);"
            }
        },
    );
    block(
        w,
        "}
        #pragma unroll
        for (int i = 0; i < WARP_ROWS / 16; i++) {
        #pragma unroll
        for (int j = 0; j < WARP_COLUMNS / 16; j++) {
        multiply_add(sums[i][2 * j], left[i], right[j][0], right[j][1]);
        multiply_add(sums[i][2 * j + 1], left[i], right[j][2], right[j][3]);
        }
        }
        }",
    );
}

/// Elements behind each row of a slab, so that threads that write rows at one time find them in different banks.
pub fn slab_padding(element: Element) -> usize {
    match element {
        Element::F32 => 4,
        Element::Bf16 => 8,
    }
}

/// Writes the sums of slab `p` to shared memory: 16 rows of each warp.
pub fn to_slab(w: &mut Writer, a: &Loader, b: &Loader) {
    block(
        w,
        "#pragma unroll
        for (int s = 0; s < SLABS; s++) {
        if (s == p) {",
    );
    block(
        w,
        match (a.element, b.along_k()) {
            (Element::F32, true) => {
                "#pragma unroll
                for (int i = 0; i < 4; i++) {
                #pragma unroll
                for (int j = 0; j < COLUMNS; j++) {
                slab[(warp_m * 16 + lane / 8 * 4 + i) * SLAB_PITCH + first_column + 8 * j] = sums[4 * s + i][j];
                }
                }"
            }
            (Element::F32, false) => {
                "#pragma unroll
                for (int i = 0; i < 4; i++) {
                #pragma unroll
                for (int j = 0; j < COLUMNS; j += 4) {
                const float four[4] = {sums[4 * s + i][j], sums[4 * s + i][j + 1], sums[4 * s + i][j + 2], sums[4 * s + i][j + 3]};
                store4(slab + (warp_m * 16 + lane / 8 * 4 + i) * SLAB_PITCH + first_column + 8 * j, four);
                }
                }"
            }
            (Element::Bf16, _) => {
                "#pragma unroll
                for (int j = 0; j < WARP_COLUMNS / 8; j++) {
                float* const to = slab + (warp_m * 16 + lane / 4) * SLAB_PITCH + warp_n * WARP_COLUMNS + j * 8 + lane % 4 * 2;
                *(float2*)to = make_float2(sums[s][j][0], sums[s][j][1]);
                *(float2*)(to + 8 * SLAB_PITCH) = make_float2(sums[s][j][2], sums[s][j][3]);
                }"
            }
        },
    );
    block(w, "}\n}");
}

/// The C expression of the tile's row that row `r` of slab `p` is.
pub fn row_of_slab(a: &Loader) -> &'static str {
    match a.element == Element::F32 && a.along_k() {
        true => "r / 16 * WARP_ROWS + p * 16 + r / 4 % 4 + r % 4 * 4",
        false => "r / 16 * WARP_ROWS + p * 16 + r % 16",
    }
}
