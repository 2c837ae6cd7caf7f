//! Contractions to be tested, with their buffers.

use crate::code::contract::contraction;
use crate::code::contract::form::{Form, Gather};
use crate::code::contract::tiles::Cut;
use crate::code::draft::Drafts;
pub use crate::code::library::Which;
use sslc_compiler::kernels::ir::{
    Access, Algorithm, Binary, Buffer, BufferId, BufferKind, Combine, Contraction, ConvShape,
    Element, Fused, Inst, LoopKernel, LoopOutput, Unary,
};

/// A fused kernel over buffers of its own.
pub struct Case {
    pub name: String,
    pub buffers: Vec<Buffer>,
    pub kernel: Fused,
}

impl Case {
    pub fn new(name: String) -> Case {
        Case {
            name,
            buffers: Vec::new(),
            kernel: Fused {
                prologue: None,
                contraction: Contraction::MatMul {
                    a: BufferId(0),
                    b: BufferId(0),
                    out: BufferId(0),
                    batch: 0,
                    m: 0,
                    n: 0,
                    k: 0,
                    ta: false,
                    tb: false,
                },
                epilogue: None,
            },
        }
    }

    pub fn buffer(&mut self, element: Element, len: usize) -> BufferId {
        self.buffer_of(BufferKind::State, element, len)
    }

    pub fn buffer_of(&mut self, kind: BufferKind, element: Element, len: usize) -> BufferId {
        let id = BufferId(self.buffers.len() as u32);
        let end = self.buffers.last().map_or(0, |b| b.offset + b.words());
        self.buffers.push(Buffer {
            name: format!("b{}", id.0),
            kind,
            element,
            shape: vec![len],
            offset: end.next_multiple_of(16),
        });
        id
    }

    /// One of a convolution's products; its result is `result` if given, else f32 for filters and as the operands else.
    pub fn conv(which: Which, element: Element, shape: ConvShape) -> Case {
        let mut case = Case::new(format!("{which:?} {} {shape:?}", element.name()));
        let algorithm = Algorithm::Direct;
        case.kernel.contraction = match which {
            Which::Forward => Contraction::Conv {
                x: case.buffer(element, shape.x_len()),
                w: case.buffer(element, shape.w_len()),
                y: case.buffer(element, shape.y_len()),
                shape,
                algorithm,
            },
            Which::InputGrad => Contraction::ConvInputGrad {
                dy: case.buffer(element, shape.y_len()),
                w: case.buffer(element, shape.w_len()),
                dx: case.buffer(element, shape.x_len()),
                shape,
                algorithm,
            },
            Which::FilterGrad => Contraction::ConvFilterGrad {
                x: case.buffer(element, shape.x_len()),
                dy: case.buffer(element, shape.y_len()),
                dw: case.buffer(Element::F32, shape.w_len()),
                shape,
                algorithm,
            },
        };
        case
    }

    pub fn matmul(
        [element, stored]: [Element; 2],
        [batch, m, n, k]: [usize; 4],
        [ta, tb]: [bool; 2],
    ) -> Case {
        let mut case = Case::new(format!(
            "matmul {} {batch} {m} {n} {k} {ta} {tb}",
            element.name()
        ));
        case.kernel.contraction = Contraction::MatMul {
            a: case.buffer(element, batch * m * k),
            b: case.buffer(element, batch * k * n),
            out: case.buffer(stored, batch * m * n),
            batch,
            m,
            n,
            k,
            ta,
            tb,
        };
        case
    }

    /// How its operands are stored.
    pub fn element(&self) -> Element {
        let (a, _) = self.kernel.contraction.operands();
        self.buffers[a.0 as usize].element
    }

    /// What tells its function's text from another's but for sizes.
    pub fn kind(&self) -> String {
        let form = Form::new(&self.kernel.contraction);
        let cut = Cut::new(&form, self.element(), self.kernel.epilogue.is_some());
        let word = |g: Gather| {
            format!("{g:?}")
                .split([' ', '('])
                .next()
                .map(str::to_string)
        };
        format!(
            "{:?} {:?} {:?} {} {} {:?}",
            cut.tile.threads,
            word(form.a.gather),
            word(form.b.gather),
            form.classes.is_some(),
            cut.splits > 1,
            self.name.split('}').nth(1)
        )
    }

    pub fn drafts(&self) -> (Drafts, Option<&LoopKernel>) {
        let Fused {
            prologue,
            contraction: kernel,
            epilogue,
        } = &self.kernel;
        contraction(kernel, prologue.as_ref(), epilogue.as_ref(), &self.buffers)
    }

    /// Batch norm's statistics of each column.
    pub fn with_statistics(mut self) -> Case {
        let result = self.kernel.contraction.result();
        let shape = self.kernel.contraction.result_shape();
        let sums = self.buffer(Element::F32, shape[1]);
        let deviations = self.buffer(Element::F32, shape[1]);
        self.name += " statistics";
        self.kernel.epilogue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![Inst::Load(own(result, shape))],
            outputs: vec![
                column(0, Combine::Sum(vec![0]), sums),
                column(0, Combine::Deviations(vec![0]), deviations),
            ],
        });
        self
    }

    /// The gradient of a sum of a normalised tensor and another, through a ReLU: of all epilogues of the networks, the longest.
    pub fn with_residual(mut self) -> Case {
        let result = self.kernel.contraction.result();
        let shape = self.kernel.contraction.result_shape();
        let len = shape[0] * shape[1];
        let stored = self.buffers[result.0 as usize].element;
        let [x, y] = [0, 1].map(|_| self.buffer(stored, len));
        let dy = self.buffer(Element::F32, len);
        let values = [0; 6].map(|_| self.buffer(Element::F32, shape[1]));
        let stores = [0, 1].map(|_| self.buffer(Element::F32, len));
        let sums = [0, 1, 2].map(|_| self.buffer(Element::F32, shape[1]));
        let of_column = |b| Inst::Load(of_column(b));
        let own_of = |b| Inst::Load(own(b, shape));
        self.name += " residual";
        self.kernel.epilogue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![
                own_of(x),
                of_column(values[0]),
                Inst::Binary(Binary::Add, 0, 1),
                of_column(values[1]),
                Inst::Binary(Binary::Mul, 2, 3),
                of_column(values[2]),
                Inst::Binary(Binary::Add, 5, 4),
                own_of(y),
                of_column(values[3]),
                Inst::Binary(Binary::Add, 7, 8),
                of_column(values[4]),
                Inst::Binary(Binary::Mul, 9, 10),
                of_column(values[5]),
                Inst::Binary(Binary::Add, 12, 11),
                Inst::Binary(Binary::Add, 6, 13),
                Inst::Const(0.0),
                Inst::Binary(Binary::Less, 15, 14),
                own_of(dy),
                own_of(result),
                Inst::Binary(Binary::Add, 17, 18),
                Inst::Unary(Unary::Bf16, 19),
                Inst::Select(16, 20, 15),
                Inst::Binary(Binary::Mul, 10, 21),
                Inst::Binary(Binary::Mul, 9, 21),
                Inst::Binary(Binary::Mul, 3, 21),
                Inst::Binary(Binary::Mul, 2, 21),
            ],
            outputs: vec![
                column(21, Combine::Sum(vec![0]), sums[0]),
                LoopOutput {
                    value: 22,
                    combine: Combine::Store,
                    to: own(stores[0], shape),
                },
                column(23, Combine::Sum(vec![0]), sums[1]),
                LoopOutput {
                    value: 24,
                    combine: Combine::Store,
                    to: own(stores[1], shape),
                },
                column(25, Combine::Sum(vec![0]), sums[2]),
            ],
        });
        self
    }

    /// `max((x + shift)·scale + bias, 0)` as the operand.
    pub fn with_normalised(mut self) -> Case {
        let Some((operand, shape)) = self.kernel.contraction.piecewise() else {
            return self;
        };
        let element = self.buffers[operand.0 as usize].element;
        self.buffers[operand.0 as usize].kind = BufferKind::Piecewise;
        let x = self.buffer(element, shape[0] * shape[1]);
        let [shift, scale, bias] = [0, 1, 2].map(|_| self.buffer(Element::F32, shape[1]));
        self.name += " normalised";
        self.kernel.prologue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![
                Inst::Load(own(x, shape)),
                Inst::Load(of_column(shift)),
                Inst::Binary(Binary::Add, 0, 1),
                Inst::Load(of_column(scale)),
                Inst::Binary(Binary::Mul, 2, 3),
                Inst::Load(of_column(bias)),
                Inst::Binary(Binary::Add, 5, 4),
                Inst::Const(0.0),
                Inst::Binary(Binary::Max, 6, 7),
            ],
            outputs: vec![LoopOutput {
                value: 8,
                combine: Combine::Store,
                to: own(operand, shape),
            }],
        });
        self
    }

    /// Loads and stores of every reach: of rows, of one value, turned, outside of a range; the largest of each column, and if
    /// `rows` of each row.
    pub fn with_odd_epilogue(mut self, rows: bool) -> Case {
        let result = self.kernel.contraction.result();
        let shape = self.kernel.contraction.result_shape();
        let m = shape[0] as i64;
        let len = shape[0] * shape[1];
        let of_rows = self.buffer(Element::F32, shape[0]);
        let one = self.buffer(Element::Bf16, 5);
        let turned = self.buffer(Element::F32, len);
        let columns = self.buffer(Element::F32, shape[1] + 3);
        let stored = self.buffer(Element::F32, len);
        let most = self.buffer(Element::F32, shape[1]);
        let mut at_one = access(one, [0, 0]);
        at_one.offset = 3;
        let mut shifted = access(columns, [0, 1]);
        shifted.offset = 3;
        let mut ranged = own(turned, shape);
        ranged.valid = vec![Some((1, shape[0])), None];
        let mut outputs = vec![
            LoopOutput {
                value: 12,
                combine: Combine::Store,
                to: access(stored, [1, m]),
            },
            LoopOutput {
                value: 5,
                combine: Combine::Store,
                to: own(result, shape),
            },
            LoopOutput {
                value: 12,
                combine: Combine::Max(vec![0]),
                to: of_column(most),
            },
        ];
        if rows {
            let sums = self.buffer(Element::F32, shape[0]);
            outputs.push(LoopOutput {
                value: 5,
                combine: Combine::Sum(vec![1]),
                to: access(sums, [1, 0]),
            });
        }
        self.name += " odd epilogue";
        self.kernel.epilogue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![
                Inst::Load(own(result, shape)),
                Inst::Load(access(of_rows, [1, 0])),
                Inst::Binary(Binary::Mul, 0, 1),
                Inst::Load(at_one),
                Inst::Load(access(turned, [1, m])),
                Inst::Binary(Binary::Add, 2, 3),
                Inst::Load(shifted),
                Inst::Load(ranged),
                Inst::Index(1),
                Inst::Binary(Binary::Add, 4, 6),
                Inst::Binary(Binary::Add, 7, 9),
                Inst::Binary(Binary::Add, 8, 10),
                Inst::Binary(Binary::Add, 5, 11),
            ],
            outputs,
        });
        self
    }

    /// An operand made of its own tensor, of values of pixels and of one value, and of the channel's number.
    pub fn with_odd_prologue(mut self) -> Case {
        let Some((operand, shape)) = self.kernel.contraction.piecewise() else {
            return self;
        };
        self.buffers[operand.0 as usize].kind = BufferKind::Piecewise;
        let x = self.buffer(Element::F32, shape[0] * shape[1]);
        let pixels = self.buffer(Element::Bf16, shape[0]);
        let channels = self.buffer(Element::Bf16, shape[1] + 1);
        let one = self.buffer(Element::F32, 1);
        let mut shifted = access(channels, [0, 1]);
        shifted.offset = 1;
        self.name += " odd prologue";
        self.kernel.prologue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![
                Inst::Load(own(x, shape)),
                Inst::Load(access(pixels, [1, 0])),
                Inst::Binary(Binary::Add, 0, 1),
                Inst::Load(shifted),
                Inst::Binary(Binary::Sub, 2, 3),
                Inst::Load(access(one, [0, 0])),
                Inst::Binary(Binary::Add, 4, 5),
                Inst::Index(1),
                Inst::Const(2.0),
                Inst::Binary(Binary::Mod, 7, 8),
                Inst::Binary(Binary::Add, 6, 9),
            ],
            outputs: vec![LoopOutput {
                value: 10,
                combine: Combine::Store,
                to: own(operand, shape),
            }],
        });
        self
    }

    /// The operand made of an f32 tensor.
    pub fn with_rounded(mut self) -> Case {
        let Some((operand, shape)) = self.kernel.contraction.piecewise() else {
            return self;
        };
        self.buffers[operand.0 as usize].kind = BufferKind::Piecewise;
        let x = self.buffer(Element::F32, shape[0] * shape[1]);
        self.name += " rounded";
        self.kernel.prologue = Some(LoopKernel {
            shape: shape.to_vec(),
            body: vec![Inst::Load(own(x, shape))],
            outputs: vec![LoopOutput {
                value: 0,
                combine: Combine::Store,
                to: own(operand, shape),
            }],
        });
        self
    }
}

/// The element of each point of a matrix.
pub fn own(buffer: BufferId, [_, columns]: [usize; 2]) -> Access {
    access(buffer, [columns as i64, 1])
}

/// A value of each column.
pub fn of_column(buffer: BufferId) -> Access {
    access(buffer, [0, 1])
}

pub fn access(buffer: BufferId, strides: [i64; 2]) -> Access {
    Access {
        buffer,
        offset: 0,
        strides: strides.to_vec(),
        valid: vec![None; 2],
    }
}

fn column(value: u32, combine: Combine, buffer: BufferId) -> LoopOutput {
    LoopOutput {
        value,
        combine,
        to: of_column(buffer),
    }
}

/// The convolutions of a network for images: channels in and out, size of the input, kernel, stride.
fn layers(bottleneck: bool, imagenet: bool) -> Vec<[usize; 5]> {
    let mut size = if imagenet { 56 } else { 32 };
    let mut all = vec![match imagenet {
        true => [3, 64, 224, 7, 2],
        false => [3, 64, 32, 3, 1],
    }];
    let mut channels = 64;
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        let out = if bottleneck { 4 * width } else { width };
        if bottleneck {
            all.extend([
                [channels, width, size, 1, 1],
                [width, width, size, 3, stride],
                [width, out, size / stride, 1, 1],
                [out, width, size / stride, 1, 1],
                [width, width, size / stride, 3, 1],
            ]);
        } else {
            all.extend([
                [channels, width, size, 3, stride],
                [width, width, size / stride, 3, 1],
            ]);
        }
        if channels != out {
            all.push([channels, out, size, 1, stride]);
        }
        size /= stride;
        channels = out;
    }
    all.dedup();
    all
}

/// The products of a network's convolution with the prologues and epilogues they have in training.
pub fn as_trained(element: Element, shape: ConvShape) -> Vec<Case> {
    let first = shape.c == 3;
    let mut all = Vec::new();
    for which in [Which::Forward, Which::InputGrad, Which::FilterGrad] {
        let case = || Case::conv(which, element, shape);
        match which {
            Which::Forward if first && element == Element::Bf16 => {
                all.push(case().with_rounded().with_statistics());
            }
            Which::Forward => {
                all.push(case().with_statistics());
                all.push(case().with_normalised().with_statistics());
            }
            Which::InputGrad if first => {}
            Which::InputGrad => {
                all.push(case());
                all.push(case().with_residual());
            }
            Which::FilterGrad if first && element == Element::Bf16 => {
                all.push(case().with_rounded());
            }
            Which::FilterGrad => {
                all.push(case());
                all.push(case().with_normalised());
            }
        }
    }
    all
}

/// All products of ResNet-18 and ResNet-50 for small and large images, with the prologues and epilogues they have in training.
pub fn networks() -> Vec<Case> {
    let mut all = Vec::new();
    for element in [Element::F32, Element::Bf16] {
        for (bottleneck, imagenet) in [(false, false), (true, false), (false, true), (true, true)] {
            let n = if imagenet { 64 } else { 128 };
            for [c, k, size, kernel, stride] in layers(bottleneck, imagenet) {
                let shape = ConvShape::square(n, size, [c, k], kernel, stride);
                all.extend(as_trained(element, shape));
            }
        }
        let stored = [element, Element::F32];
        for (sizes, turned) in [
            ([1, 128, 512, 512], [false, true]),
            ([1, 128, 512, 512], [false, false]),
            ([1, 512, 512, 128], [true, false]),
            ([1, 256, 256, 128], [false, true]),
            ([1, 64, 2048, 2048], [false, true]),
            ([1, 2048, 2048, 64], [true, false]),
        ] {
            all.push(Case::matmul(stored, sizes, turned).with_statistics());
        }
    }
    all
}
