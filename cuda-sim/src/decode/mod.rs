//! From a [`Tree`] to [`Kernel`]s. What is unknown is refused here, so that nothing is met for the first time while running.
//!
//! - [`operands`]: registers, constants and addresses as rows
//! - [`opcodes`]: the table of opcodes: arithmetic, and by family [`floats`], [`moves`], [`conversions`], [`memory`] and [`warp`]
//! - [`origins`]: which kernel parameter an address was made from
mod conversions;
mod floats;
mod memory;
mod moves;
mod opcodes;
mod operands;
mod origins;
mod warp;

use crate::code::{Inst, Kernel, Op, Parameter, SHARED_BASE, TRUE};
use crate::ptx::parse::LARGEST;
use crate::ptx::{Function, Instruction, Operand, Refusal, Space, Statement, Tree, Width};
use operands::Frame;
use std::collections::HashMap;

/// Free bytes between variables in shared and local memory, so that running over the end of one is seen.
const GAP: u32 = 32;
/// Calls are made part of their caller; so deep at most.
const DEPTH: usize = 16;
/// Most instructions of a kernel.
const MOST: usize = 1 << 22;

/// Decodes every kernel of a module. `globals` says where the module's variables were put.
pub fn decode(tree: &Tree, globals: &HashMap<String, u64>) -> Result<Vec<Kernel>, Refusal> {
    let mut kernels = Vec::new();
    for function in tree.functions.iter().filter(|f| f.entry && f.defined) {
        kernels.push(kernel(tree, globals, function)?);
    }
    Ok(kernels)
}

/// The decoder of one kernel.
struct Decoder<'a> {
    tree: &'a Tree,
    globals: &'a HashMap<String, u64>,
    kernel: Kernel,
    /// Constant rows already there: a value and whether it has 64 bits.
    constants: HashMap<(u64, bool), u32>,
    presets: HashMap<String, u32>,
    /// Shared variables of the module that the kernel uses.
    shared: HashMap<String, u64>,
    /// Arrays whose size the launch says: they begin where static memory ends. The rows to fill in, with offsets.
    dynamic: Vec<(u32, bool, i64)>,
    dynamic_align: u32,
    calls: Vec<String>,
}

fn align_up(value: u32, align: u32) -> u32 {
    value.next_multiple_of(align.max(1))
}

fn kernel(
    tree: &Tree,
    globals: &HashMap<String, u64>,
    function: &Function,
) -> Result<Kernel, Refusal> {
    let mut decoder = Decoder {
        tree,
        globals,
        kernel: Kernel {
            name: function.name.clone(),
            predicates: TRUE + 1,
            max_threads: function.max_threads.unwrap_or(1024),
            ..Kernel::default()
        },
        constants: HashMap::new(),
        presets: HashMap::new(),
        shared: HashMap::new(),
        dynamic: Vec::new(),
        dynamic_align: 16,
        calls: Vec::new(),
    };
    let mut frame = decoder.frame(function)?;
    for &index in &function.parameters {
        let variable = &function.variables[index as usize];
        let offset = align_up(decoder.kernel.parameter_bytes, variable.align);
        frame.places[index as usize] = offset as u64;
        decoder.kernel.parameters.push(Parameter {
            offset,
            size: variable.size,
        });
        decoder.kernel.parameter_bytes = offset + variable.size;
        decoder.fits()?;
    }
    decoder.function(function, &frame, None)?;
    let line = function.body.iter().rev().find_map(|s| match s {
        Statement::Instruction(i) => Some(i.line),
        _ => None,
    });
    decoder.push(line.unwrap_or(1), Op::Exit);
    decoder.place_dynamic();
    origins::find(&mut decoder.kernel);
    Ok(decoder.kernel)
}

impl<'a> Decoder<'a> {
    /// Rows and places for the registers and variables of a function.
    fn frame(&mut self, function: &Function) -> Result<Frame, Refusal> {
        let mut rows = Vec::with_capacity(function.registers.len());
        for width in &function.registers {
            rows.push(match width {
                Width::Predicate => {
                    self.kernel.predicates += 1;
                    self.kernel.predicates - 1
                }
                Width::B64 => self.rows(2),
                Width::B16 | Width::B32 => self.rows(1),
            });
        }
        let mut places = Vec::with_capacity(function.variables.len());
        let mut formals = Vec::with_capacity(function.variables.len());
        for (index, variable) in function.variables.iter().enumerate() {
            let formal = function.entry && function.parameters.contains(&(index as u32));
            formals.push(formal);
            places.push(match variable.space {
                Space::Shared => self.place_shared(variable.size, variable.align),
                _ if formal => 0,
                _ => {
                    let offset = align_up(self.kernel.local_bytes, variable.align.max(8));
                    self.kernel.local_bytes = offset + variable.size + GAP;
                    offset as u64
                }
            });
            self.fits()?;
        }
        self.fits()?;
        Ok(Frame {
            widths: function.registers.clone(),
            rows,
            places,
            formal: formals,
        })
    }

    /// Refuses what no device has room for.
    fn fits(&self) -> Result<(), Refusal> {
        let kernel = &self.kernel;
        let most = kernel
            .shared_bytes
            .max(kernel.local_bytes)
            .max(kernel.parameter_bytes);
        if most > LARGEST || kernel.rows > 1 << 20 || kernel.predicates > 1 << 20 {
            return Err(Refusal::new(
                0,
                "the kernel needs more memory or registers than any device has",
            ));
        }
        Ok(())
    }

    fn rows(&mut self, count: u32) -> u32 {
        let first = self.kernel.rows;
        self.kernel.rows += count;
        first
    }

    fn place_shared(&mut self, size: u32, align: u32) -> u64 {
        let offset = align_up(self.kernel.shared_bytes, align.max(16));
        self.kernel.shared_bytes = offset + size + GAP;
        self.kernel.shared_declared = align_up(self.kernel.shared_declared, align) + size;
        self.kernel.shared_variables.push((offset, size));
        SHARED_BASE + offset as u64
    }

    /// Dynamic shared memory begins after the static variables.
    fn place_dynamic(&mut self) {
        let end = align_up(self.kernel.shared_bytes, self.dynamic_align);
        self.kernel.shared_bytes = end;
        for (row, wide, offset) in std::mem::take(&mut self.dynamic) {
            let value = (SHARED_BASE + end as u64).wrapping_add(offset as u64);
            operands::fill(&mut self.kernel.constants, row, wide, value);
        }
    }

    fn push(&mut self, line: u32, op: Op) -> &mut Inst {
        let kernel = &mut self.kernel;
        let (d, a, b, c) = (0, 0, 0, 0);
        kernel.code.push(Inst {
            op,
            guard: TRUE,
            negated: false,
            d,
            a,
            b,
            c,
            extra: 0,
            list: (0, 0),
            line,
        });
        let last = kernel.code.len() - 1;
        &mut kernel.code[last]
    }

    /// The instructions of a function. `returns` is the line of the call for one that is called.
    fn function(
        &mut self,
        function: &Function,
        frame: &Frame,
        returns: Option<u32>,
    ) -> Result<(), Refusal> {
        let mut labels = HashMap::new();
        let mut tables: HashMap<&str, &Vec<String>> = HashMap::new();
        let mut jumps = Vec::new();
        for statement in &function.body {
            match statement {
                Statement::Label(name) => {
                    if labels
                        .insert(name.as_str(), self.kernel.code.len())
                        .is_some()
                    {
                        return Err(Refusal::new(
                            1,
                            format!("the label `{name}` stands twice in `{}`", function.name),
                        ));
                    }
                }
                Statement::Targets(name, targets) => {
                    tables.insert(name, targets);
                }
                Statement::Instruction(instruction) => {
                    let first = self.kernel.code.len();
                    self.instruction(frame, instruction, returns.is_some())
                        .map_err(|r| Refusal {
                            line: if r.line == 0 {
                                instruction.line
                            } else {
                                r.line
                            },
                            ..r
                        })?;
                    if let Some((register, negated)) = instruction.guard {
                        let call = instruction.opcode.starts_with("call");
                        if call {
                            return Err(Refusal::new(
                                instruction.line,
                                "a call under a predicate is not supported",
                            ));
                        }
                        for inst in &mut self.kernel.code[first..] {
                            inst.guard = frame.rows[register as usize];
                            inst.negated = negated;
                        }
                    }
                    if instruction.opcode.starts_with("br")
                        || (instruction.opcode.starts_with("ret") && returns.is_some())
                    {
                        jumps.push((self.kernel.code.len() - 1, instruction));
                    }
                    if self.kernel.code.len() > MOST {
                        return Err(Refusal::new(instruction.line, "the kernel is too long"));
                    }
                }
            }
        }
        let end = self.kernel.code.len();
        let target = |name: &str, line: u32| {
            labels
                .get(name)
                .copied()
                .ok_or_else(|| Refusal::new(line, format!("there is no label `{name}`")))
        };
        for (at, instruction) in jumps {
            let line = instruction.line;
            match (self.kernel.code[at].op, instruction.operands.as_slice()) {
                (Op::Branch, []) => self.kernel.code[at].extra = end as u64,
                (Op::Branch, [Operand::Symbol(name, 0)]) => {
                    self.kernel.code[at].extra = target(name, line)? as u64
                }
                (Op::BranchIndexed, [_, Operand::Symbol(table, 0)]) => {
                    let Some(targets) = tables.get(table.as_str()) else {
                        return Err(Refusal::new(line, format!("there is no table `{table}`")));
                    };
                    let first = self.kernel.lists.len() as u32;
                    for name in targets.iter() {
                        let target = target(name, line)? as u32;
                        self.kernel.lists.push(target);
                    }
                    let Ok(count) = u8::try_from(targets.len()) else {
                        return Err(Refusal::new(
                            line,
                            "a table of more than 255 targets is not supported",
                        ));
                    };
                    self.kernel.code[at].list = (first, count);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        frame: &Frame,
        instruction: &Instruction,
        called: bool,
    ) -> Result<(), Refusal> {
        let mut parts = instruction.opcode.split('.');
        let base = parts.next().unwrap_or_default();
        let modifiers: Vec<&str> = parts.collect();
        let line = instruction.line;
        match base {
            "call" => self.call(frame, instruction),
            "ret" if called => {
                self.push(line, Op::Branch);
                Ok(())
            }
            _ => {
                let known = self.arithmetic(frame, base, &modifiers, instruction)?
                    || self.conversion(frame, base, &modifiers, instruction)?
                    || self.memory(frame, base, &modifiers, instruction)?
                    || self.warp(frame, base, &modifiers, instruction)?;
                if known {
                    return Ok(());
                }
                Err(Refusal::new(
                    line,
                    format!("the opcode `{}` is not supported", instruction.opcode),
                ))
            }
        }
    }

    /// A call: the body of the function in place, on registers of its own.
    fn call(&mut self, frame: &Frame, instruction: &Instruction) -> Result<(), Refusal> {
        let fail = |message: String| Err(Refusal::new(instruction.line, message));
        let (returned, name, given) = match instruction.operands.as_slice() {
            [Operand::Symbol(name, 0)] => (&[][..], name, &[][..]),
            [Operand::Symbol(name, 0), Operand::List(given)] => (&[][..], name, given.as_slice()),
            [Operand::List(returned), Operand::Symbol(name, 0)] => {
                (returned.as_slice(), name, &[][..])
            }
            [
                Operand::List(returned),
                Operand::Symbol(name, 0),
                Operand::List(given),
            ] => (returned.as_slice(), name, given.as_slice()),
            _ => return fail("only direct calls are supported".into()),
        };
        let tree = self.tree;
        let Some(function) = tree
            .functions
            .iter()
            .find(|f| f.name == *name && f.defined && !f.entry)
        else {
            return fail(format!("the function `{name}` has no body in this module"));
        };
        if self.calls.contains(name) || self.calls.len() >= DEPTH {
            return fail(format!("`{name}` is recursive, which is not supported"));
        }
        if returned.len() != function.returns.len() || given.len() != function.parameters.len() {
            return fail(format!(
                "`{name}` is called with another number of parameters than it has"
            ));
        }
        let mut inner = self.frame(function)?;
        let formal = function
            .returns
            .iter()
            .zip(returned)
            .chain(function.parameters.iter().zip(given));
        for (&formal, actual) in formal {
            match actual {
                Operand::Local(variable, 0) => {
                    inner.places[formal as usize] = frame.places[*variable as usize]
                }
                _ => return fail("arguments of a call must be variables of `.param` space".into()),
            }
        }
        self.calls.push(name.clone());
        self.function(function, &inner, Some(instruction.line))?;
        self.calls.pop();
        Ok(())
    }
}
