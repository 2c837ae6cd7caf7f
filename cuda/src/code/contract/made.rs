//! The operand that a prologue makes, as it is brought to shared memory.
//!
//! What it loads at its own point is read a chunk at a time; values of channels are read once for all of a thread's chunks,
//! which have the same channels.

use super::parameters::Parameters;
use super::text::{block, c_type};
use crate::code::body::Point;
use crate::code::writer::Writer;
use sslc_compiler::kernels::ir::{Access, Buffer, BufferId, Inst, LoopKernel};

/// A prologue.
pub struct Made<'a> {
    pub kernel: &'a LoopKernel,
    pub buffers: &'a [Buffer],
    /// Names of the buffers that it reads.
    pub names: Vec<(BufferId, String)>,
}

/// How a load is brought to a chunk.
enum Reach {
    /// It is the element of each point.
    Own,
    /// It is a value of each channel, from a place on.
    Channel,
    /// Anything else: where it is used.
    Any,
}

impl<'a> Made<'a> {
    /// Takes a prologue, and makes what it reads parameters.
    pub fn new(
        kernel: &'a LoopKernel,
        buffers: &'a [Buffer],
        parameters: &mut Parameters,
    ) -> Made<'a> {
        let mut names: Vec<(BufferId, String)> = Vec::new();
        for access in kernel.loads() {
            if names.iter().all(|(b, _)| *b != access.buffer) {
                let name = format!("from{}", names.len());
                parameters.read(access.buffer, &name);
                names.push((access.buffer, name));
            }
        }
        Made {
            kernel,
            buffers,
            names,
        }
    }

    fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    fn name(&self, id: BufferId) -> String {
        let found = self.names.iter().find(|(b, _)| *b == id);
        found.map_or(String::new(), |(_, n)| n.clone())
    }

    fn reach(&self, access: &Access) -> Reach {
        let shape = [self.kernel.shape[0], self.kernel.shape[1]];
        let always = access.valid.iter().all(Option::is_none);
        if access.is_dense(shape) {
            Reach::Own
        } else if always && access.strides == [0, 1] {
            Reach::Channel
        } else {
            Reach::Any
        }
    }

    fn loads(&self) -> impl Iterator<Item = (usize, &Access)> {
        let body = self.kernel.body.iter().enumerate();
        body.filter_map(|(r, inst)| match inst {
            Inst::Load(access) => Some((r, access)),
            _ => None,
        })
    }

    fn own(&self) -> impl Iterator<Item = (usize, &Access)> {
        self.loads()
            .filter(|(_, a)| matches!(self.reach(a), Reach::Own))
    }

    /// What a thread keeps from a read to the making of it.
    pub fn setup(&self, w: &mut Writer, chunk: usize) {
        for (r, access) in self.own() {
            let bytes = chunk * self.buffer(access.buffer).element.bytes();
            w.line(format!("Words<{bytes}>::type raw{r}[A_LOADS];"));
        }
        w.line("int made_channel = 0;");
    }

    /// Reads chunk i at `a_from[i]`.
    pub fn fetch(&self, w: &mut Writer, chunk: usize) {
        for (r, access) in self.own() {
            let bytes = chunk * self.buffer(access.buffer).element.bytes();
            let name = self.name(access.buffer);
            block(
                w,
                &format!(
                    "if (there) {{
                    raw{r}[i] = *(const Words<{bytes}>::type*)({name} + a_from[i]);
                    }}"
                ),
            );
        }
    }

    /// Keeps the first channel of the chunks read.
    pub fn keep_channel(&self, w: &mut Writer, channel: &str) {
        w.line(format!("made_channel = {channel};"));
    }

    /// Reads the values of the channels of a thread's chunks.
    pub fn of_channels(&self, w: &mut Writer, chunk: usize) {
        let channels = self.kernel.shape[1];
        let of_channels: Vec<_> = self
            .loads()
            .filter(|(_, a)| matches!(self.reach(a), Reach::Channel))
            .collect();
        if of_channels.is_empty() {
            return;
        }
        for (r, _) in &of_channels {
            w.line(format!("float channel{r}[A_CHUNK] = {{}};"));
        }
        w.open(format!("if (made_channel < {channels})"));
        for (r, access) in &of_channels {
            let name = self.name(access.buffer);
            let from = super::text::from(&name, access.offset, "made_channel");
            if access.offset % chunk as i64 == 0 {
                w.line(format!("load_all(channel{r}, {from});"));
            } else {
                w.line("#pragma unroll");
                w.open("for (int q = 0; q < A_CHUNK; q++)");
                w.line(format!("channel{r}[q] = load({from} + q);"));
                w.close();
            }
        }
        w.close();
    }

    /// Makes chunk i: `made`. Outside of the operand it is 0.
    pub fn make(&self, w: &mut Writer) {
        w.line("float made[A_CHUNK] = {};");
        w.open("if (a_from[i] >= 0)");
        for (r, access) in self.own() {
            let element = c_type(self.buffer(access.buffer).element);
            w.line(format!("float own{r}[A_CHUNK];"));
            w.line(format!("unpack(own{r}, raw{r}[i], (const {element}*)0);"));
        }
        w.line("#pragma unroll");
        w.open("for (int q = 0; q < A_CHUNK; q++)");
        self.evaluate(w, "a_from[i]", "made_channel", |r, reach| match reach {
            Reach::Own => Some(format!("own{r}[q]")),
            Reach::Channel => Some(format!("channel{r}[q]")),
            Reach::Any => None,
        });
        w.close();
        w.close();
    }

    /// Reads and makes a chunk: `made` of what is at `from`, if it is `there`.
    pub fn at_once(&self, w: &mut Writer, channel: &str) {
        w.line("float made[A_CHUNK] = {};");
        w.open("if (there)");
        w.line(format!("const int made_channel = {channel};"));
        w.line("#pragma unroll");
        w.open("for (int q = 0; q < A_CHUNK; q++)");
        self.evaluate(w, "from", "made_channel", |_, _| None);
        w.close();
        w.close();
    }

    /// Sets `made[q]` from the element at `from + q`.
    fn evaluate(
        &self,
        w: &mut Writer,
        from: &str,
        channel: &str,
        load: impl Fn(usize, Reach) -> Option<String>,
    ) {
        let channels = self.kernel.shape[1];
        let index = [format!("({from} / {channels})"), format!("({channel} + q)")];
        let Some(output) = self.kernel.outputs.first() else {
            return;
        };
        let hook = |r: usize, access: &Access| {
            let reach = self.reach(access);
            let own = matches!(reach, Reach::Own);
            let name = self.name(access.buffer);
            load(r, reach).or_else(|| own.then(|| format!("load({name} + {from} + q)")))
        };
        let point = Point {
            kernel: self.kernel,
            index: &index,
            pointer: &|b| self.name(b),
            load: &hook,
            prefix: "v",
        };
        let value = point.evaluate(&[output.value]);
        w.lines(&value.lines);
        let register = &value.registers[output.value as usize];
        w.line(format!("made[q] = {register};"));
    }
}
