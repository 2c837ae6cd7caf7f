//! Operands as rows.
use super::Decoder;
use crate::code::{CONSTANT, Preset, Row, SHARED_BASE, TRUE, Type};
use crate::ptx::{Operand, Refusal, Space, Width};

/// Where the registers and variables of a function are.
pub struct Frame {
    pub widths: Vec<Width>,
    pub rows: Vec<u32>,
    pub places: Vec<u64>,
    /// Which variables are parameters of the kernel.
    pub formal: Vec<bool>,
}

pub type Found<T> = Result<T, Refusal>;

fn refuse<T>(message: impl Into<String>) -> Found<T> {
    Err(Refusal::new(0, message))
}

/// Writes a value to the lanes of a constant.
pub fn fill(constants: &mut [Row], row: u32, wide: bool, value: u64) {
    let at = row as usize;
    if wide {
        for lane in 0..32 {
            constants[at + lane / 16].0[lane % 16 * 2] = value as u32;
            constants[at + lane / 16].0[lane % 16 * 2 + 1] = (value >> 32) as u32;
        }
    } else {
        constants[at] = Row([value as u32; 32]);
    }
}

impl Decoder<'_> {
    fn new_constant(&mut self, value: u64, wide: bool) -> u32 {
        let row = self.kernel.constants.len() as u32;
        self.kernel
            .constants
            .resize(row as usize + 1 + wide as usize, Row([0; 32]));
        fill(&mut self.kernel.constants, row, wide, value);
        row | CONSTANT
    }

    pub fn constant(&mut self, value: u64, wide: bool) -> u32 {
        let value = if wide { value } else { value & 0xffff_ffff };
        if let Some(&row) = self.constants.get(&(value, wide)) {
            return row;
        }
        let row = self.new_constant(value, wide);
        self.constants.insert((value, wide), row);
        row
    }

    /// An operand of 16 bits (`bytes` 2), 32 or 64.
    pub fn source(&mut self, frame: &Frame, operand: &Operand, bytes: u32) -> Found<u32> {
        let wide = bytes == 8;
        match operand {
            Operand::Register(register) => {
                let width = frame.widths[*register as usize];
                let fits = match bytes {
                    1 | 2 => width == Width::B16,
                    4 => width == Width::B32,
                    _ => width == Width::B64,
                };
                if !fits {
                    return refuse(format!(
                        "a register of {width:?} where one of {bytes} bytes belongs"
                    ));
                }
                Ok(frame.rows[*register as usize])
            }
            Operand::Integer(value) if bytes <= 2 => Ok(self.constant(value & 0xffff, false)),
            Operand::Integer(value) => Ok(self.constant(*value, wide)),
            Operand::F32(bits) if bytes == 4 => Ok(self.constant(*bits as u64, false)),
            Operand::F64(bits) if bytes == 8 => Ok(self.constant(*bits, true)),
            Operand::F64(bits) if bytes == 4 => {
                Ok(self.constant((f64::from_bits(*bits) as f32).to_bits() as u64, false))
            }
            Operand::Special(name) => self.special(name, bytes),
            Operand::Local(variable, offset) => {
                let address = frame.places[*variable as usize].wrapping_add(*offset as u64);
                Ok(self.constant(address, wide))
            }
            Operand::Symbol(name, offset) => self.symbol(name, *offset, wide),
            other => refuse(format!("{other:?} is not supported as an operand")),
        }
    }

    /// The address of a variable of the module.
    fn symbol(&mut self, name: &str, offset: i64, wide: bool) -> Found<u32> {
        if let Some(&address) = self.globals.get(name) {
            return Ok(self.constant(address.wrapping_add(offset as u64), wide));
        }
        let Some(variable) = self.tree.variables.iter().find(|v| v.name == name) else {
            return refuse(format!("`{name}` is not declared"));
        };
        if variable.space != Space::Shared {
            return refuse(format!("`{name}` has no place in memory"));
        }
        if variable.external {
            self.dynamic_align = self.dynamic_align.max(variable.align);
            let row = self.new_constant(SHARED_BASE, wide);
            self.dynamic.push((row & !CONSTANT, wide, offset));
            return Ok(row);
        }
        let (size, align) = (variable.size, variable.align);
        let address = match self.shared.get(name) {
            Some(&address) => address,
            None => {
                let address = self.place_shared(size, align);
                self.shared.insert(name.to_string(), address);
                self.fits()?;
                address
            }
        };
        Ok(self.constant(address.wrapping_add(offset as u64), wide))
    }

    fn special(&mut self, name: &str, bytes: u32) -> Found<u32> {
        if name == "WARP_SZ" {
            return Ok(self.constant(32, bytes == 8));
        }
        let preset = match name {
            "%tid.x" => Preset::ThreadX,
            "%tid.y" => Preset::ThreadY,
            "%tid.z" => Preset::ThreadZ,
            "%ctaid.x" => Preset::BlockX,
            "%ctaid.y" => Preset::BlockY,
            "%ctaid.z" => Preset::BlockZ,
            "%ntid.x" => Preset::ThreadsX,
            "%ntid.y" => Preset::ThreadsY,
            "%ntid.z" => Preset::ThreadsZ,
            "%nctaid.x" => Preset::BlocksX,
            "%nctaid.y" => Preset::BlocksY,
            "%nctaid.z" => Preset::BlocksZ,
            "%laneid" => Preset::Lane,
            "%warpid" => Preset::Warp,
            "%nwarpid" => Preset::Warps,
            "%lanemask_eq" => Preset::LanesEqual,
            "%lanemask_lt" => Preset::LanesBelow,
            "%lanemask_le" => Preset::LanesUpTo,
            "%lanemask_gt" => Preset::LanesAbove,
            "%lanemask_ge" => Preset::LanesFrom,
            "%dynamic_smem_size" => Preset::DynamicShared,
            "%total_smem_size" => Preset::TotalShared,
            _ => return refuse(format!("the special register `{name}` is not supported")),
        };
        if bytes != 4 {
            return refuse(format!("`{name}` has 32 bits"));
        }
        if let Some(&row) = self.presets.get(name) {
            return Ok(row);
        }
        let row = self.rows(1);
        self.presets.insert(name.to_string(), row);
        self.kernel.presets.push((row, preset));
        Ok(row)
    }

    /// A register that is written. `_` is a row that nothing reads.
    pub fn target(&mut self, frame: &Frame, operand: &Operand, bytes: u32) -> Found<u32> {
        match operand {
            Operand::Register(_) => self.source(frame, operand, bytes),
            Operand::Sink => Ok(self.rows(1 + (bytes == 8) as u32)),
            other => refuse(format!("{other:?} cannot be written to")),
        }
    }

    /// A register of any width, and whether it has 64 bits.
    pub fn any(&mut self, frame: &Frame, operand: &Operand, bytes: u32) -> Found<(u32, bool)> {
        match operand {
            Operand::Register(register) => match frame.widths[*register as usize] {
                Width::Predicate => refuse("a predicate is not supported here"),
                width => Ok((frame.rows[*register as usize], width == Width::B64)),
            },
            Operand::Sink => Ok((self.rows(2), bytes == 8)),
            other => Ok((self.source(frame, other, bytes.max(4))?, bytes == 8)),
        }
    }

    /// A predicate, and whether it is negated.
    pub fn predicate(&mut self, frame: &Frame, operand: &Operand) -> Found<(u32, bool)> {
        match operand {
            Operand::Register(register) if frame.widths[*register as usize] == Width::Predicate => {
                Ok((frame.rows[*register as usize], false))
            }
            Operand::Not(inner) => self
                .predicate(frame, inner)
                .map(|(slot, negated)| (slot, !negated)),
            Operand::Integer(value) => Ok((TRUE, *value == 0)),
            other => refuse(format!("{other:?} is not a predicate")),
        }
    }

    pub fn predicate_target(&mut self, frame: &Frame, operand: &Operand) -> Found<u32> {
        match operand {
            Operand::Sink => {
                self.kernel.predicates += 1;
                Ok(self.kernel.predicates - 1)
            }
            Operand::Register(_) => self.predicate(frame, operand).map(|p| p.0),
            other => refuse(format!("{other:?} cannot be written to")),
        }
    }

    /// `[base + offset]`: the row of the base, whether it has 64 bits, and the offset.
    pub fn address(&mut self, frame: &Frame, operand: &Operand) -> Found<(u32, bool, i64)> {
        let Operand::Address(base, offset) = operand else {
            return refuse(format!("{operand:?} is not an address"));
        };
        match base.as_ref() {
            Operand::Register(register) => match frame.widths[*register as usize] {
                Width::B64 => Ok((frame.rows[*register as usize], true, *offset)),
                Width::B32 => Ok((frame.rows[*register as usize], false, *offset)),
                width => refuse(format!("an address in a register of {width:?}")),
            },
            other => Ok((self.source(frame, other, 8)?, true, *offset)),
        }
    }

    /// The registers of a vector, or the only one, as a list; and whether they have 64 bits.
    pub fn list(
        &mut self,
        frame: &Frame,
        operand: &Operand,
        bytes: u32,
    ) -> Found<((u32, u8), bool)> {
        let single = std::slice::from_ref(operand);
        let operands = if let Operand::Vector(v) = operand {
            v.as_slice()
        } else {
            single
        };
        let mut rows = Vec::with_capacity(operands.len());
        let mut width = None;
        for operand in operands {
            let (row, wide) = self.any(frame, operand, bytes)?;
            if *width.get_or_insert(wide) != wide && *operand != Operand::Sink {
                return refuse("a vector mixes registers of 32 and 64 bits");
            }
            rows.push(row);
        }
        let first = self.kernel.lists.len() as u32;
        let Ok(count) = u8::try_from(rows.len()) else {
            return refuse("the vector is too long");
        };
        self.kernel.lists.extend(rows);
        Ok(((first, count), width.unwrap_or(false)))
    }
}

/// The type of a suffix such as `u32`.
pub fn kind(name: &str) -> Option<Type> {
    Some(match name {
        "u8" | "b8" => Type::U8,
        "s8" => Type::S8,
        "u16" | "b16" => Type::U16,
        "s16" => Type::S16,
        "u32" | "b32" => Type::U32,
        "s32" => Type::S32,
        "u64" | "b64" => Type::U64,
        "s64" => Type::S64,
        "f16" => Type::F16,
        "bf16" => Type::BF16,
        "f32" => Type::F32,
        "f64" => Type::F64,
        _ => return None,
    })
}
