//! The function that computes a product: a block makes a tile of the result.

use super::form::{Classes, Form, Gather};
use super::made::Made;
use super::operand::{Loader, Side, Way};
use super::parameters::Parameters;
use super::product;
use super::result::{Ending, accumulator};
use super::text::{block, c_type};
use super::tiles::Cut;
use crate::code::draft::{Draft, NAME};
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::{Buffer, Element, LoopKernel};

/// A product to be made a function.
pub struct Kernel<'a> {
    pub form: &'a Form,
    pub cut: Cut,
    pub buffers: &'a [Buffer],
    pub prologue: Option<&'a LoopKernel>,
    pub ending: Ending<'a>,
    /// Places in scratch, in words: of splits' sums, or of each reduction's parts.
    pub scratch: Vec<usize>,
}

impl Kernel<'_> {
    /// Rows of a reduction's parts: one for each tile of rows of each class or matrix.
    pub fn parts(form: &Form, cut: &Cut) -> usize {
        let [tiles_m, _] = cut.tiles(form);
        match form.groups {
            true => tiles_m * form.products() / form.batch,
            false => tiles_m * form.products(),
        }
    }

    /// The function and its launch.
    pub fn draft(&self) -> Draft {
        let (form, cut) = (self.form, &self.cut);
        let tile = cut.tile;
        let element = self.buffers[form.a.buffer.0 as usize].element;
        let mut parameters = Parameters::new(self.buffers);
        let made = self
            .prologue
            .map(|p| Made::new(p, self.buffers, &mut parameters));
        if made.is_none() {
            parameters.read(form.a.buffer, "a");
        }
        parameters.read(form.b.buffer, "b");
        if cut.splits > 1 {
            parameters.scratch(self.scratch[0], "float", "result");
        } else {
            self.ending.parameters(&mut parameters);
            for (number, output) in self.ending.reductions().iter().enumerate() {
                let kind = accumulator(&output.combine);
                parameters.scratch(self.scratch[number], kind, &format!("parts{number}"));
            }
        }
        let a = Loader::new(Side::A, form, element, tile, made.as_ref());
        let b = Loader::new(Side::B, form, element, tile, None);
        let mut w = Writer::default();
        w.open(format!(
            "extern \"C\" __global__ void __launch_bounds__({}, {}) {NAME}(\n    {})",
            tile.threads,
            tile.resident,
            parameters.declared()
        ));
        self.sizes(&mut w);
        a.setup(&mut w);
        b.setup(&mut w);
        block(
            &mut w,
            &format!(
                "{0}* const a_tiles = ({0}*)shared;
                {0}* const b_tiles = a_tiles + STAGES * A_TILE;",
                c_type(element)
            ),
        );
        product::setup(&mut w, &a, &b);
        self.steps(&mut w, &a, &b);
        self.end(&mut w, &a, &b, &parameters);
        w.close();
        Draft {
            source: w.finish(),
            suffix: "",
            threads: tile.threads as u32,
            shared_bytes: self.shared_bytes(&a, &b) as u32,
            arguments: parameters.arguments,
            grid: [cut.blocks(form) as u32, 1, 1],
        }
    }

    /// Constants, and which tile the block makes.
    fn sizes(&self, w: &mut Writer) {
        let (form, cut) = (self.form, &self.cut);
        let tile = cut.tile;
        let [tiles_m, tiles_n] = cut.tiles(form);
        let (m, n, k) = (form.m, form.n, form.k);
        let [rows, columns] = form.shape;
        block(
            w,
            &format!(
                "// result[m, n] = sum over k of a[m, k] b[k, n]; a block makes TILE_M x TILE_N of it, TILE_K terms at a time.
                constexpr int M = {m}, N = {n};
                constexpr int TILE_M = {}, TILE_N = {}, TILE_K = {}, THREADS = {}, STAGES = {};
                constexpr int TILES_M = {tiles_m}, TILES_N = {tiles_n}, RESULT_ROWS = {rows}, RESULT_COLUMNS = {columns};
                extern __shared__ __align__(16) unsigned char shared[];
                const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
                const int n0 = blockIdx.x % TILES_N * TILE_N;
                const int tile_m = blockIdx.x / TILES_N % TILES_M, m0 = tile_m * TILE_M;",
                tile.m, tile.n, tile.k, tile.threads, tile.stages
            ),
        );
        let product = "blockIdx.x / (TILES_N * TILES_M)";
        let splits = cut.splits;
        let inner = if splits > 1 {
            w.line(format!("const int split = {product} % {splits};"));
            format!("{product} / {splits}")
        } else {
            product.to_string()
        };
        let batch = form.batch;
        let windowed = self.window();
        if let Some(classes) = form.classes {
            w.line(format!(
                "const int batch = {inner} % {batch}, pixel_class = {inner} / {batch};"
            ));
            self.class(w, &classes);
        } else {
            w.line(match batch {
                1 => "constexpr int batch = 0;".to_string(),
                _ => format!("const int batch = {inner};"),
            });
            w.line(format!("constexpr int K = {k};"));
            if let Some((inner, kernel)) = windowed {
                w.line(format!(
                    "constexpr int INNER = {inner}, TAPS_Y = {kernel}, TAPS_X = {kernel};"
                ));
            }
        }
        if windowed.is_some() {
            w.line("constexpr int OUTSIDE = -(1 << 24);  // as a row of an image");
        }
        if splits > 1 {
            w.line(format!(
                "const int begin = split * {0}, end = min(begin + {0}, (K + TILE_K - 1) / TILE_K);",
                cut.steps
            ));
        } else {
            w.line("const int begin = 0, end = (K + TILE_K - 1) / TILE_K;");
        }
    }

    /// Channels of a tap and taps along a side, where terms are taps and channels.
    fn window(&self) -> Option<(usize, usize)> {
        match self.form.a.gather {
            Gather::Window(window) | Gather::NarrowWindow(window) => {
                Some((window.inner(), window.shape.kernel))
            }
            _ => None,
        }
    }

    /// The class's first pixel, its pixels of an image, and the taps that reach them.
    fn class(&self, w: &mut Writer, classes: &Classes) {
        let s = &classes.shape;
        let (stride, kernel, padding) = (s.stride, s.kernel, s.padding);
        let inner = s.k / s.groups;
        block(
            w,
            &format!(
                "// Pixels of a class are STRIDE apart, and the same taps reach them: those of the class's number and STRIDE apart.
                constexpr int STRIDE = {stride}, INNER = {inner};
                const int class_y = pixel_class / STRIDE, class_x = pixel_class % STRIDE;
                const int taps_y = ({kernel} - class_y + STRIDE - 1) / STRIDE, taps_x = ({kernel} - class_x + STRIDE - 1) / STRIDE;
                const int TAPS_Y = taps_y, TAPS_X = max(taps_x, 1), K = taps_y * taps_x * INNER;
                const int first_y = (class_y + {}) % STRIDE, first_x = (class_x + {}) % STRIDE;
                const int pixels_y = ({} - first_y + STRIDE - 1) / STRIDE, pixels_x = ({} - first_x + STRIDE - 1) / STRIDE;
                const int class_h = max(pixels_y, 1), class_w = max(pixels_x, 1), class_m = {} * pixels_y * pixels_x;",
                stride - padding % stride,
                stride - padding % stride,
                s.h,
                s.w,
                s.n
            ),
        );
    }

    /// The loop over terms: the tiles of later steps are on their way while those of this one are multiplied.
    fn steps(&self, w: &mut Writer, a: &Loader, b: &Loader) {
        w.line("// Brings the operands of the next step to a stage's place in shared memory.");
        w.open("const auto fetch = [&](int stage)");
        for loader in [a, b] {
            w.open("");
            loader.fetch(w);
            w.close();
        }
        // Both may read where they are in the terms.
        a.advance(w, self.form);
        b.advance(w, self.form);
        w.close_with("};");
        let carried = [a, b].into_iter().any(|l| l.way() == Way::Carried);
        if carried {
            w.open("const auto keep = [&](int stage)");
            for loader in [a, b] {
                if loader.way() == Way::Carried {
                    loader.keep(w);
                }
            }
            w.close_with("};");
        }
        block(
            w,
            "#pragma unroll
            for (int s = 0; s < STAGES - 1; s++) {
            if (begin + s < end) {
            fetch(s);",
        );
        if carried {
            w.line("keep(s);");
        }
        block(
            w,
            "}
            copies_end();
            }
            int stage = 0;
            #pragma unroll 1
            for (int step = begin; step < end; step++) {
            // This step's operands are there, and all have read the place that the next ones go to.
            copies_wait<STAGES - 2>();
            __syncthreads();
            const int next = stage == 0 ? STAGES - 1 : stage - 1;
            const bool more = step + STAGES - 1 < end;
            if (more) {
            fetch(next);
            }
            copies_end();",
        );
        product::multiply(w, a, b);
        if carried {
            block(w, "if (more) {\nkeep(next);\n}");
        }
        block(
            w,
            "stage = stage == STAGES - 1 ? 0 : stage + 1;
            }
            copies_wait<0>();",
        );
    }

    /// Rows of a slab.
    fn slab(&self, a: &Loader) -> usize {
        let tile = self.cut.tile;
        let warp_rows = match a.element {
            Element::F32 => 4 * tile.rows,
            Element::Bf16 => tile.rows,
        };
        tile.m / warp_rows * 16
    }

    /// Columns of a thread at the end: fewer where an epilogue has so many values of each that registers could not hold them
    /// beside the sums.
    fn wide(&self, element: Element) -> usize {
        let tile = self.cut.tile;
        let full = element == Element::F32 && tile.threads > 128 && self.ending.values() > 11;
        match self.form.n % 4 {
            0 if !full => 4,
            0 | 2 => 2,
            _ => 1,
        }
    }

    /// From the sums to the result.
    fn end(&self, w: &mut Writer, a: &Loader, b: &Loader, parameters: &Parameters) {
        let (form, cut) = (self.form, &self.cut);
        let n = form.n;
        let fused = cut.splits == 1;
        if let Some(classes) = form.classes {
            self.class_rows(w, &classes);
        }
        let first_column = match (form.groups, form.batch) {
            (true, batch) if batch > 1 => format!("batch * {n} + n0 + along"),
            _ => "n0 + along".to_string(),
        };
        block(
            w,
            &format!(
                "// Sums go through shared memory, SLAB rows at a time: a thread takes WIDE columns of every DOWN-th row.
                constexpr int WIDE = {}, ACROSS = TILE_N / WIDE, DOWN = THREADS / ACROSS;
                constexpr int SLAB = {}, SLABS = WARP_ROWS / 16, SLAB_PITCH = TILE_N + {};
                float* const slab = (float*)shared;
                const int along = thread % ACROSS * WIDE, down = thread / ACROSS;
                const bool in_columns = n0 + along < N;
                const int j0 = {first_column};",
                self.wide(a.element),
                self.slab(a),
                product::slab_padding(a.element)
            ),
        );
        if fused {
            self.ending.setup(w, parameters);
        }
        block(
            w,
            "#pragma unroll 1
            for (int p = 0; p < SLABS; p++) {
            __syncthreads();",
        );
        product::to_slab(w, a, b);
        block(
            w,
            "__syncthreads();
            for (int r = down; r < SLAB; r += DOWN) {",
        );
        let row = product::row_of_slab(a);
        match form.classes {
            Some(_) => block(
                w,
                &format!("const int i = rows[{row}];\nif (in_columns && i >= 0) {{"),
            ),
            None => {
                block(
                    w,
                    &format!("const int m = m0 + {row};\nif (in_columns && m < M) {{"),
                );
                w.line(match form.groups || form.batch == 1 {
                    true => "const int i = m;",
                    false => "const int i = batch * M + m;",
                });
            }
        }
        block(
            w,
            "const int at = i * RESULT_COLUMNS + j0;
            float sum[WIDE];
            load_all(sum, slab + r * SLAB_PITCH + along);",
        );
        if fused {
            self.ending.row(w, parameters);
        } else {
            w.line("store_all(result + split * (RESULT_ROWS * RESULT_COLUMNS) + at, sum);");
        }
        block(w, "}\n}\n}");
        if fused && !self.ending.reductions().is_empty() {
            let row = match (form.groups, form.classes.is_some()) {
                (true, true) => "pixel_class * TILES_M + tile_m",
                (true, false) => "tile_m",
                (false, _) => "batch * TILES_M + tile_m",
            };
            w.line(format!("const int part_row = {row};"));
            self.ending.reduce(w);
        }
    }

    /// The result's rows that the tile's rows are.
    fn class_rows(&self, w: &mut Writer, classes: &Classes) {
        let s = &classes.shape;
        block(
            w,
            &format!(
                "// The pixels that the tile's rows are.
                __shared__ int rows[TILE_M];
                if (thread < TILE_M) {{
                const int m = m0 + thread;
                const int image = m / (class_h * class_w);
                const int y = first_y + m / class_w % class_h * STRIDE, x = first_x + m % class_w * STRIDE;
                rows[thread] = m < class_m ? (image * {} + y) * {} + x : -1;
                }}",
                s.h, s.w
            ),
        );
    }

    /// Bytes of dynamic shared memory: for operands, then for slabs, then for accumulators.
    fn shared_bytes(&self, a: &Loader, b: &Loader) -> usize {
        let tile = self.cut.tile;
        let operands = tile.stages * (a.tile_len() + b.tile_len()) * a.element.bytes();
        let slab = self.slab(a) * (tile.n + product::slab_padding(a.element)) * 4;
        let reductions = self.ending.reductions();
        let words = reductions
            .iter()
            .map(|o| super::result::accumulator_words(&o.combine));
        let accumulators = tile.threads * self.wide(a.element) * 4 * words.max().unwrap_or(0);
        operands.max(slab).max(accumulators)
    }
}
