//! How an operand's tile comes to shared memory: a thread's places in the operand, and its copies.
//!
//! A tile lies in shared memory as in the operand: along k, as rows of `TILE_K` terms, or along rows, as terms of `TILE_M`
//! (`TILE_N`) rows. A thread copies the same chunks of every tile, so that what depends on them stands before the loop.

use super::form::{Form, Gather, Operand, Window};
use super::made::Made;
use super::tiles::Tile;
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::{ConvShape, Element};

/// The left or the right factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// How elements come to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By asynchronous copies.
    Copied,
    /// Through registers: read before the products of a tile, made and stored after them.
    Carried,
    /// Through registers at once: too narrow for a copy, or so many that registers could not hold them.
    Direct,
}

/// The most chunks of a thread whose pixels it keeps from tile to tile.
const KEPT: usize = 4;

/// An operand with what its copies are.
pub struct Loader<'a> {
    pub side: Side,
    pub operand: Operand,
    pub element: Element,
    pub tile: Tile,
    /// Elements that are copied at once.
    pub chunk: usize,
    /// What makes its elements from others, if they are made.
    pub made: Option<&'a Made<'a>>,
}

impl<'a> Loader<'a> {
    pub fn new(
        side: Side,
        form: &Form,
        element: Element,
        tile: Tile,
        made: Option<&'a Made<'a>>,
    ) -> Loader<'a> {
        let operand = match side {
            Side::A => form.a,
            Side::B => form.b,
        };
        // More that is made at once would not fit into registers.
        let widest = made.map_or(element.bytes(), |_| 4);
        let narrow = operand.gather.is_narrow();
        let fits = |chunk: &usize| operand.unit.is_multiple_of(*chunk) && (!narrow || *chunk == 1);
        let chunk = [8, 4, 2, 1]
            .into_iter()
            .filter(|c| c * widest <= 16)
            .find(fits)
            .unwrap_or(1);
        Loader {
            side,
            operand,
            element,
            tile,
            chunk,
            made,
        }
    }

    pub fn way(&self) -> Way {
        match self.made {
            None if self.chunk * self.element.bytes() >= 4 => Way::Copied,
            Some(_) if self.chunk >= 4 => Way::Carried,
            _ => Way::Direct,
        }
    }

    /// Rows of a tile.
    fn rows(&self) -> usize {
        match self.side {
            Side::A => self.tile.m,
            Side::B => self.tile.n,
        }
    }

    pub fn along_k(&self) -> bool {
        self.operand.gather.along_k()
    }

    /// Elements from one row (term) in shared memory to the next: so many that threads that read rows (terms) at one time find
    /// them in different banks.
    fn pitch(&self) -> usize {
        match (self.along_k(), self.element) {
            (true, Element::F32) => self.tile.k + 4,
            (true, Element::Bf16) => self.tile.k + 8,
            (false, Element::F32) => self.rows(),
            (false, Element::Bf16) => self.rows() + 8,
        }
    }

    /// Elements of a tile in shared memory.
    pub fn tile_len(&self) -> usize {
        let count = match self.along_k() {
            true => self.rows(),
            false => self.tile.k,
        };
        count * self.pitch()
    }

    /// Threads side by side along a row (term), rows (terms) that all threads copy at once, and chunks of a thread.
    pub fn split(&self) -> [usize; 3] {
        let (length, count) = match self.along_k() {
            true => (self.tile.k, self.rows()),
            false => (self.rows(), self.tile.k),
        };
        let across = length / self.chunk;
        let down = self.tile.threads / across;
        [across, down, count / down]
    }

    /// Writes with the operand's names put in: `$p` and `$P` for its name, `$O` for the tile's first row, `$SIZE` for all rows.
    fn put(&self, w: &mut Writer, text: &str) {
        super::text::block(w, &self.named(text));
    }

    /// What a thread knows before the loop over terms: `begin` is the first step of `TILE_K` terms.
    pub fn setup(&self, w: &mut Writer) {
        let [across, down, loads] = self.split();
        let (chunk, pitch, len) = (self.chunk, self.pitch(), self.tile_len());
        self.put(
            w,
            &format!(
                "constexpr int $P_CHUNK = {chunk}, $P_DOWN = {down}, $P_LOADS = {loads}, $P_PITCH = {pitch}, $P_TILE = {len};
                const int $p_along = thread % {across} * $P_CHUNK, $p_down = thread / {across};"
            ),
        );
        let step = self.operand.step;
        match self.operand.gather {
            Gather::ByRow { ld } => self.put(
                w,
                &format!(
                    "int $p_k = begin * TILE_K + $p_along;
                    const int $p_first = batch * {step} + ($O + $p_down) * {ld};"
                ),
            ),
            Gather::ByTerm { ld } => self.put(
                w,
                &format!(
                    "int $p_k = begin * TILE_K + $p_down;
                    int $p_first = batch * {step} + $p_k * {ld} + $O + $p_along;"
                ),
            ),
            Gather::Window(window) => {
                self.put(
                    w,
                    "int $p_y[$P_LOADS], $p_x[$P_LOADS], $p_first[$P_LOADS];
                    #pragma unroll
                    for (int i = 0; i < $P_LOADS; i++) {
                    const int row = $O + $p_down + i * $P_DOWN;",
                );
                self.pixel(w, &window);
                self.put(
                    w,
                    "$p_y[i] = there ? y : OUTSIDE;\n$p_x[i] = x;\n$p_first[i] = first;\n}",
                );
                // Where in the terms it is: a tap and a channel.
                self.put(
                    w,
                    "int term = begin * TILE_K + $p_along;
                    int channel = term % INNER, tap_y = term / INNER / TAPS_X, tap_x = term / INNER % TAPS_X;",
                );
            }
            Gather::NarrowWindow(window) => {
                self.put(w, "int $p_k = begin * TILE_K + $p_down;\nint $p_y, $p_x, $p_first;\n{\nconst int row = $O + $p_along;");
                self.pixel(w, &window);
                self.put(
                    w,
                    "$p_y = there ? y : OUTSIDE;\n$p_x = x;\n$p_first = first;\n}",
                );
            }
            Gather::Pixels(shape) => self.pixels(w, &shape),
            Gather::Filter(s) => self.put(
                w,
                &format!(
                    "const int $p_first = batch * {step} + ($O + $p_down) * {};",
                    s.k
                ),
            ),
            Gather::NarrowFilter(s) => self.put(
                w,
                &format!(
                    "int $p_k = begin * TILE_K + $p_down;
                    const int $p_first = batch * {step} + ($O + $p_along) * {};",
                    s.k
                ),
            ),
        }
        if let (Way::Carried, Some(made)) = (self.way(), self.made) {
            self.put(w, "int $p_from[$P_LOADS];");
            made.setup(w, self.chunk);
        }
    }

    fn c_type(&self) -> &'static str {
        super::text::c_type(self.element)
    }

    /// The pixel that the first tap meets, and its first element: `there`, `y`, `x` and `first` of `row`.
    fn pixel(&self, w: &mut Writer, window: &Window) {
        let s = &window.shape;
        let [height, width, channels] = window.image();
        let step = self.operand.step;
        let (stride, padding) = (s.stride, s.padding);
        if !window.gradient {
            let (oh, ow) = (s.oh, s.ow);
            self.put(
                w,
                &format!(
                    "const bool there = row < M;
                    const int image = row / {};
                    const int y = row / {ow} % {oh} * {stride} - {padding}, x = row % {ow} * {stride} - {padding};",
                    oh * ow
                ),
            );
        } else if stride == 1 {
            let (h, wide) = (s.h, s.w);
            self.put(
                w,
                &format!(
                    "const bool there = row < M;
                    const int image = row / {};
                    const int y = row / {wide} % {h} + {padding}, x = row % {wide} + {padding};",
                    h * wide
                ),
            );
        } else {
            self.put(
                w,
                &format!(
                    "const bool there = row < class_m;
                    const int image = row / (class_h * class_w);
                    const int y = row / class_w % class_h + (first_y + {padding} - class_y) / {stride};
                    const int x = row % class_w + (first_x + {padding} - class_x) / {stride};"
                ),
            );
        }
        self.put(
            w,
            &format!(
                "const int first = ((image * {height} + y) * {width} + x) * {channels} + batch * {step};"
            ),
        );
    }

    /// A thread's tap and channel, and its pixels of y.
    fn pixels(&self, w: &mut Writer, s: &ConvShape) {
        let (cg, kernel, padding) = (s.c / s.groups, s.kernel, s.padding);
        self.put(
            w,
            &format!(
                "const int channel = ($O + $p_along) % {cg}, tap = ($O + $p_along) / {cg};
                const int tap_y = tap / {kernel} - {padding}, tap_x = tap % {kernel} - {padding};
                int $p_k = begin * TILE_K + $p_down;"
            ),
        );
        if self.keeps_pixels() {
            self.put(
                w,
                "int $p_image[$P_LOADS], $p_y[$P_LOADS], $p_x[$P_LOADS];
                #pragma unroll
                for (int i = 0; i < $P_LOADS; i++) {",
            );
            self.decoded(w, s, ["$p_image[i]", "$p_y[i]", "$p_x[i]"], "");
            w.close();
        }
    }

    fn keeps_pixels(&self) -> bool {
        self.split()[2] <= KEPT
    }

    /// Image, row and column of y's pixel of chunk i.
    fn decoded(&self, w: &mut Writer, s: &ConvShape, [image, y, x]: [&str; 3], declared: &str) {
        let (oh, ow) = (s.oh, s.ow);
        self.put(
            w,
            &format!(
                "const int pixel = $p_k + i * $P_DOWN;
                {declared}{image} = pixel / {};
                {declared}{y} = pixel / {ow} % {oh};
                {declared}{x} = pixel % {ow};",
                oh * ow
            ),
        );
    }

    /// Starts the copies of the next tile to a stage's place.
    pub fn fetch(&self, w: &mut Writer) {
        let way = self.way();
        if way != Way::Carried {
            self.put(
                w,
                &format!(
                    "{}* const $p_to = $p_tiles + stage * $P_TILE + $p_down * $P_PITCH + $p_along;",
                    self.c_type()
                ),
            );
        }
        self.put(w, "#pragma unroll\nfor (int i = 0; i < $P_LOADS; i++) {");
        let (inside, from) = self.place(w);
        self.put(w, &format!("const bool there = {inside};"));
        match (way, self.made) {
            (Way::Copied, _) => {
                let bytes = self.chunk * self.element.bytes();
                self.put(
                    w,
                    &format!(
                        "copy_async<{bytes}>($p_to + i * $P_DOWN * $P_PITCH, $p + ({from}), there);"
                    ),
                );
            }
            (Way::Carried, Some(made)) => {
                self.put(w, &format!("$p_from[i] = there ? {from} : -1;"));
                made.fetch(w, self.chunk);
            }
            (_, Some(made)) => {
                self.put(w, &format!("const int from = {from};"));
                made.at_once(w, &self.channel());
                self.put(w, "store_all($p_to + i * $P_DOWN * $P_PITCH, made);");
            }
            (_, None) => {
                let element = self.c_type();
                self.put(
                    w,
                    &format!("$p_to[i * $P_DOWN * $P_PITCH] = there ? $p[{from}] : ({element})0;"),
                );
            }
        }
        w.close();
        if let (Way::Carried, Some(made)) = (way, self.made) {
            made.keep_channel(w, &self.channel());
        }
    }

    /// Writes what the place of chunk i needs; gives the condition under which it is in the operand, and its place there.
    fn place(&self, w: &mut Writer) -> (String, String) {
        let step = self.operand.step;
        let (inside, from) = match self.operand.gather {
            Gather::ByRow { ld } => (
                "$O + $p_down + i * $P_DOWN < $SIZE && $p_k < K",
                format!("$p_first + i * $P_DOWN * {ld} + $p_k"),
            ),
            Gather::ByTerm { ld } => (
                "$O + $p_along < $SIZE && $p_k + i * $P_DOWN < K",
                format!("$p_first + i * $P_DOWN * {ld}"),
            ),
            Gather::Window(window) => {
                let [height, width, channels] = window.image();
                let sign = if window.gradient { '-' } else { '+' };
                self.put(
                    w,
                    &format!("const int y = $p_y[i] {sign} tap_y, x = $p_x[i] {sign} tap_x;"),
                );
                return (
                    format!("tap_y < TAPS_Y && (unsigned)y < {height} && (unsigned)x < {width}"),
                    self.named(&format!(
                        "$p_first[i] {sign} (tap_y * {width} + tap_x) * {channels} + channel"
                    )),
                );
            }
            Gather::NarrowWindow(window) => {
                let [height, width, channels] = window.image();
                let sign = if window.gradient { '-' } else { '+' };
                self.taps(w);
                self.put(
                    w,
                    &format!("const int y = $p_y {sign} tap_y, x = $p_x {sign} tap_x;"),
                );
                return (
                    format!("tap_y < TAPS_Y && (unsigned)y < {height} && (unsigned)x < {width}"),
                    self.named(&format!(
                        "$p_first {sign} (tap_y * {width} + tap_x) * {channels} + channel"
                    )),
                );
            }
            Gather::Pixels(s) => {
                let (stride, h, wide, c) = (s.stride, s.h, s.w, s.c);
                let at = match self.keeps_pixels() {
                    true => ["$p_image[i]", "$p_y[i]", "$p_x[i]"],
                    false => {
                        self.decoded(w, &s, ["image", "row", "column"], "const int ");
                        ["image", "row", "column"]
                    }
                };
                let [image, y, x] = at;
                self.put(
                    w,
                    &format!("const int y = {y} * {stride} + tap_y, x = {x} * {stride} + tap_x;"),
                );
                return (
                    self.named(&format!("$O + $p_along < $SIZE && $p_k + i * $P_DOWN < K && (unsigned)y < {h} && (unsigned)x < {wide}")),
                    self.named(&format!("(({image} * {h} + y) * {wide} + x) * {c} + batch * {step} + channel")),
                );
            }
            Gather::Filter(s) => (
                "$O + $p_down + i * $P_DOWN < $SIZE && tap_y < TAPS_Y",
                format!("$p_first + i * $P_DOWN * {} + {}", s.k, tap_place(&s)),
            ),
            Gather::NarrowFilter(s) => {
                self.taps(w);
                (
                    "$O + $p_along < $SIZE && tap_y < TAPS_Y",
                    format!("$p_first + {}", tap_place(&s)),
                )
            }
        };
        (self.named(inside), self.named(&from))
    }

    fn named(&self, text: &str) -> String {
        match self.side {
            Side::A => text
                .replace("$p", "a")
                .replace("$P", "A")
                .replace("$O", "m0")
                .replace("$SIZE", "M"),
            Side::B => text
                .replace("$p", "b")
                .replace("$P", "B")
                .replace("$O", "n0")
                .replace("$SIZE", "N"),
        }
    }

    /// Tap and channel of element i, where each is read by itself.
    fn taps(&self, w: &mut Writer) {
        self.put(
            w,
            "const int term = $p_k + i * $P_DOWN;
            const int channel = term % INNER, tap_y = term / INNER / TAPS_X, tap_x = term / INNER % TAPS_X;",
        );
    }

    /// The C expression of the channel of a chunk's first element.
    fn channel(&self) -> String {
        let step = self.operand.step;
        match self.operand.gather {
            Gather::ByRow { .. } => format!("batch * {step} + a_k"),
            Gather::ByTerm { .. } => format!("batch * {step} + m0 + a_along"),
            _ => format!("batch * {step} + channel"),
        }
    }

    /// Goes on to the next tile's terms.
    pub fn advance(&self, w: &mut Writer, form: &Form) {
        match self.operand.gather {
            Gather::ByRow { .. } | Gather::NarrowWindow(_) | Gather::NarrowFilter(_) => {
                self.put(w, "$p_k += TILE_K;")
            }
            Gather::ByTerm { ld } => {
                self.put(w, &format!("$p_k += TILE_K;\n$p_first += TILE_K * {ld};"))
            }
            Gather::Window(window) if form.k == window.inner() => {
                self.put(w, "channel += TILE_K;\ntap_y += channel >= INNER;");
            }
            Gather::Window(window) if window.inner() >= self.tile.k => self.put(
                w,
                "channel += TILE_K;
                if (channel >= INNER) {
                channel -= INNER;
                tap_x++;
                if (tap_x == TAPS_X) {
                tap_x = 0;
                tap_y++;
                }
                }",
            ),
            Gather::Window(_) => self.put(
                w,
                "term += TILE_K;
                channel = term % INNER;
                tap_y = term / INNER / TAPS_X;
                tap_x = term / INNER % TAPS_X;",
            ),
            Gather::Pixels(s) if self.keeps_pixels() => {
                // TILE_K pixels on, as images, rows and columns.
                let (image, y, x) = (
                    self.tile.k / (s.oh * s.ow),
                    self.tile.k / s.ow % s.oh,
                    self.tile.k % s.ow,
                );
                let (oh, ow) = (s.oh, s.ow);
                self.put(
                    w,
                    &format!(
                        "$p_k += TILE_K;
                        #pragma unroll
                        for (int i = 0; i < $P_LOADS; i++) {{
                        $p_x[i] += {x};
                        $p_y[i] += {y};
                        $p_image[i] += {image};
                        if ($p_x[i] >= {ow}) {{
                        $p_x[i] -= {ow};
                        $p_y[i]++;
                        }}
                        if ($p_y[i] >= {oh}) {{
                        $p_y[i] -= {oh};
                        $p_image[i]++;
                        }}
                        }}"
                    ),
                );
            }
            Gather::Pixels(_) => self.put(w, "$p_k += TILE_K;"),
            Gather::Filter(_) => {}
        }
    }

    /// Brings what [`Loader::fetch`] has read to a stage's place in shared memory.
    pub fn keep(&self, w: &mut Writer) {
        let Some(made) = self.made else { return };
        self.put(
            w,
            &format!(
                "{}* const $p_to = $p_tiles + stage * $P_TILE + $p_down * $P_PITCH + $p_along;",
                self.c_type()
            ),
        );
        made.of_channels(w, self.chunk);
        self.put(w, "#pragma unroll\nfor (int i = 0; i < $P_LOADS; i++) {");
        made.make(w);
        self.put(w, "store_all($p_to + i * $P_DOWN * $P_PITCH, made);");
        w.close();
    }
}

/// The place of a tap of a filter: rows of a tap's input channels.
fn tap_place(s: &ConvShape) -> String {
    let (y, x) = match s.stride {
        1 => ("tap_y".to_string(), "tap_x".to_string()),
        by => (
            format!("(class_y + tap_y * {by})"),
            format!("(class_x + tap_x * {by})"),
        ),
    };
    format!(
        "({y} * {} + {x}) * {} + channel",
        s.kernel,
        s.c / s.groups * s.k
    )
}
