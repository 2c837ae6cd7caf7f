//! One instruction after the other, for the lanes of a group.
use super::Kind;
use super::access::{Checked, Lanes, space_of};
use super::block::Block;
use super::families::{
    canonical, combine, conversion, decide, float32, halves, integer32, integer64, odd, select32,
    set32,
};
use super::float;
use super::integer::{
    count32, count64, funnel, insert32, insert64, lop3, one16, one32, one64, prmt, three16,
    three32, three64, two16,
};
use super::warp::{Flow, Stop, Wait, Warp};
use crate::code::{Inst, Int3, Op};

/// The same code as [`advance`], compiled for a processor with wide vectors.
///
/// # Safety
/// The processor must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
pub unsafe fn advance_wide(
    warp: &mut Warp,
    block: &mut Block,
    pc: &mut u32,
    lanes: u32,
    limit: u32,
    alone: bool,
) -> Checked<Flow> {
    advance(warp, block, pc, lanes, limit, alone)
}

/// Runs until the lanes part, wait or end, or reach `limit`. `alone`: no other lanes are anywhere, so that jumps need no one.
#[inline(always)]
pub fn advance(
    warp: &mut Warp,
    block: &mut Block,
    pc: &mut u32,
    lanes: u32,
    limit: u32,
    alone: bool,
) -> Checked<Flow> {
    let code = block.launch.kernel.code.as_slice();
    loop {
        let inst = &code[*pc as usize];
        if block.budget == 0 {
            return Err(Stop::new(
                lanes.trailing_zeros(),
                Kind::Timeout,
                "runs without an end: the budget of instructions is used up",
            ));
        }
        block.budget -= 1;
        let some = lanes & warp.predicate(inst.guard, inst.negated);
        if some != 0 {
            match execute(warp, block, inst, some)? {
                Flow::Next => {}
                Flow::Jump(to) if alone && some == lanes => {
                    *pc = to;
                    continue;
                }
                Flow::Jump(to) if some == lanes => return Ok(Flow::Jump(to)),
                Flow::Jump(to) => return Ok(Flow::Part(to, some)),
                Flow::Wait(Wait::Barrier) if some != lanes => {
                    return Err(Stop::failed(
                        some.trailing_zeros(),
                        "a divergent barrier: it stands under a predicate",
                    ));
                }
                Flow::Wait(Wait::Lanes) if some != lanes => {
                    return Err(Stop::failed(
                        some.trailing_zeros(),
                        "names lanes for which its predicate does not hold",
                    ));
                }
                flow => return Ok(flow),
            }
        }
        *pc += 1;
        if *pc == limit {
            return Ok(Flow::Next);
        }
    }
}

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

#[inline(always)]
fn execute(w: &mut Warp, b: &mut Block, i: &Inst, lanes: u32) -> Checked<Flow> {
    w.mask(lanes);
    let rows = [i.d, i.a, i.b, i.c];
    // Operands that an instruction does not have are read as register 0 and left out.
    match i.op {
        Op::Nop | Op::Fence => {}
        Op::Mov32 => w.map(b, rows, |a, _, _| a),
        Op::Mov64 => w.map64(b, rows, |a, _, _| a),
        Op::Pack64 => w.widen(b, [i.d, i.a, i.b, i.d], |a, b, _| {
            a as u64 | (b as u64) << 32
        }),
        Op::Unpack64 => {
            // The source may be one of the targets.
            for lane in Lanes(lanes) {
                let value = w.get64(b.launch.kernel, i.a, lane);
                w.set32(i.d, lane, value as u32);
                w.set32(i.b, lane, (value >> 32) as u32);
            }
        }
        Op::Pack32 => w.map(b, rows, |a, b, _| a & 0xffff | b << 16),
        Op::Unpack32 => {
            for lane in Lanes(lanes) {
                let value = w.get32(b.launch.kernel, i.a, lane);
                w.set32(i.d, lane, value & 0xffff);
                w.set32(i.b, lane, value >> 16);
            }
        }
        Op::Pack16x4 => {
            let list = &b.launch.kernel.lists[i.list.0 as usize..][..4];
            for lane in Lanes(lanes) {
                let parts = list.iter().rev().fold(0, |all, &row| {
                    all << 16 | w.get32(b.launch.kernel, row, lane) as u64 & 0xffff
                });
                w.set64(i.d, lane, parts);
            }
        }
        Op::Unpack16x4 => {
            let list = &b.launch.kernel.lists[i.list.0 as usize..][..4];
            for lane in Lanes(lanes) {
                let value = w.get64(b.launch.kernel, i.a, lane);
                for (at, &row) in list.iter().enumerate() {
                    w.set32(row, lane, (value >> (16 * at)) as u32 & 0xffff);
                }
            }
        }
        Op::I32(op) => integer32(w, b, rows, op),
        Op::I64(op) => integer64(w, b, rows, op),
        Op::I16(op) => w.map(b, rows, |x, y, _| two16(op, x as u16, y as u16, y) as u32),
        Op::J16(op) => w.map(b, rows, |x, _, _| one16(op, x as u16) as u32),
        Op::J32(op) => w.map(b, rows, |x, _, _| one32(op, x)),
        Op::J64(op) => w.map64(b, rows, |x, _, _| one64(op, x)),
        Op::Count32(op) => w.map(b, rows, |x, _, _| count32(op, x)),
        Op::Count64(op) => w.narrow(b, i.d, i.a, |x| count64(op, x)),
        Op::T16(op) => w.map(b, rows, |x, y, z| {
            three16(op, x as u16, y as u16, z as u16, y, z) as u32
        }),
        Op::T32(Int3::Mad) => w.map(b, rows, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        Op::T32(op) => w.map(b, rows, |x, y, z| three32(op, x, y, z, y, z)),
        Op::T64(Int3::Mad) => w.map64(b, rows, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        Op::T64(op @ (Int3::BfeU | Int3::BfeS)) => {
            let kernel = b.launch.kernel;
            for lane in Lanes(lanes) {
                let (x, y, z) = (
                    w.get64(kernel, i.a, lane),
                    w.get32(kernel, i.b, lane),
                    w.get32(kernel, i.c, lane),
                );
                w.set64(i.d, lane, three64(op, x, 0, 0, y, z));
            }
        }
        Op::T64(op) => w.map64(b, rows, |x, y, z| three64(op, x, y, z, 0, 0)),
        Op::Wide16(true) => w.map(b, rows, |x, y, _| {
            (x as i16 as i32 * y as i16 as i32) as u32
        }),
        Op::Wide16(false) => w.map(b, rows, |x, y, _| x as u16 as u32 * y as u16 as u32),
        Op::MadWide16(true) => w.map(b, rows, |x, y, z| {
            ((x as i16 as i32 * y as i16 as i32) as u32).wrapping_add(z)
        }),
        Op::MadWide16(false) => w.map(b, rows, |x, y, z| {
            (x as u16 as u32 * y as u16 as u32).wrapping_add(z)
        }),
        Op::Wide32(true) => w.widen(b, [i.d, i.a, i.b, i.d], |x, y, _| {
            (x as i32 as i64 * y as i32 as i64) as u64
        }),
        Op::Wide32(false) => w.widen(b, [i.d, i.a, i.b, i.d], |x, y, _| x as u64 * y as u64),
        Op::MadWide32(true) => w.widen(b, rows, |x, y, z| {
            ((x as i32 as i64 * y as i32 as i64) as u64).wrapping_add(z)
        }),
        Op::MadWide32(false) => w.widen(b, rows, |x, y, z| (x as u64 * y as u64).wrapping_add(z)),
        Op::Bfi32 => {
            for lane in Lanes(lanes) {
                let k = b.launch.kernel;
                let [x, y, at, n] =
                    [i.a, i.b, i.c, i.extra as u32].map(|row| w.get32(k, row, lane));
                w.set32(i.d, lane, insert32(x, y, at, n));
            }
        }
        Op::Bfi64 => {
            for lane in Lanes(lanes) {
                let k = b.launch.kernel;
                let [x, y] = [i.a, i.b].map(|row| w.get64(k, row, lane));
                let [at, n] = [i.c, i.extra as u32].map(|row| w.get32(k, row, lane));
                w.set64(i.d, lane, insert64(x, y, at, n));
            }
        }
        Op::Lop3 => {
            let table = i.extra as u32;
            w.map(b, rows, |x, y, z| lop3(x, y, z, table));
        }
        Op::Prmt => w.map(b, rows, prmt),
        Op::Funnel(op) => w.map(b, rows, |x, y, z| funnel(op, x, y, z)),
        Op::Fma => w.map(b, rows, |x, y, z| canonical(f(x).mul_add(f(y), f(z)))),
        Op::FmaSlow(mode) => w.map(b, rows, |x, y, z| {
            float::fma_slow(mode, f(x), f(y), f(z)).to_bits()
        }),
        Op::F32(op) => float32(w, b, rows, op),
        Op::F32Slow(op, mode) => w.map(b, rows, |x, y, _| {
            float::two32_slow(op, mode, f(x), f(y)).to_bits()
        }),
        Op::F64(op) => w.map64(b, rows, |x, y, _| float::two64(op, d(x), d(y)).to_bits()),
        Op::Fma64 => w.map64(b, rows, |x, y, z| d(x).mul_add(d(y), d(z)).to_bits()),
        Op::G32(op, mode) => w.map(b, rows, |x, _, _| float::one32(op, mode, f(x)).to_bits()),
        Op::G64(op) => w.map64(b, rows, |x, _, _| float::one64(op, d(x)).to_bits()),
        Op::Bf16(op) => w.map(b, rows, |x, y, _| {
            halves(|h| {
                float::bf16(float::two32(
                    op,
                    float::widen_bf16((x >> h) as u16),
                    float::widen_bf16((y >> h) as u16),
                ))
            })
        }),
        Op::Bf16Fma => w.map(b, rows, |x, y, z| {
            halves(|h| {
                let [x, y, z] = [x, y, z].map(|v| float::widen_bf16((v >> h) as u16) as f64);
                // The product is exact in f64; the sum is rounded to odd there, so that it is rounded once.
                float::bf16(odd(x * y, z))
            })
        }),
        Op::Bf16Neg => w.map(b, rows, |x, _, _| x ^ 0x8000_8000),
        Op::Bf16Abs => w.map(b, rows, |x, _, _| x & 0x7fff_7fff),
        Op::Convert(c) => conversion(w, b, i, &c, lanes),
        Op::PairBf16 { relu } => w.map(b, rows, |x, y, _| {
            let one = |v: f32| float::bf16(if relu && v < 0.0 { 0.0 } else { v }) as u32;
            one(f(x)) << 16 | one(f(y))
        }),
        Op::PairF16 => w.map(b, rows, |x, y, _| {
            (float::f16(f(x)) as u32) << 16 | float::f16(f(y)) as u32
        }),
        Op::Tf32 => w.map(b, rows, |x, _, _| float::tf32(x)),
        Op::Set16(compare, signed) => {
            let found = match signed {
                true => w.test(b, i.a, i.b, |x, y| {
                    float::compare(compare, x as i16, y as i16)
                }),
                false => w.test(b, i.a, i.b, |x, y| {
                    float::compare(compare, x as u16, y as u16)
                }),
            };
            decide(w, i, lanes, found);
        }
        Op::Set32(compare, signed) => {
            let found = set32(w, b, i, compare, signed);
            decide(w, i, lanes, found);
        }
        Op::Set64(compare, signed) => {
            let found = match signed {
                true => w.test64(b, i.a, i.b, |x, y| {
                    float::compare(compare, x as i64, y as i64)
                }),
                false => w.test64(b, i.a, i.b, |x, y| float::compare(compare, x, y)),
            };
            decide(w, i, lanes, found);
        }
        Op::SetF32(compare, flush) => {
            let found = w.test(b, i.a, i.b, |x, y| {
                float::compare(
                    compare,
                    float::flush(f(x), flush),
                    float::flush(f(y), flush),
                )
            });
            decide(w, i, lanes, found);
        }
        Op::SetF64(compare) => {
            let found = w.test64(b, i.a, i.b, |x, y| float::compare(compare, d(x), d(y)));
            decide(w, i, lanes, found);
        }
        Op::Combine(logic) => {
            let (found, other) = (w.predicate(i.a, false), w.predicate(i.c, i.extra == 1));
            w.decide(i.d, lanes, combine(logic, found, other));
            w.decide(i.b, lanes, combine(logic, !found, other));
        }
        Op::Select32 => {
            let chosen = w.predicate(i.c, i.extra == 1);
            select32(w, b, i, chosen);
        }
        Op::Select64 => {
            let chosen = w.predicate(i.c, i.extra == 1);
            let k = b.launch.kernel;
            for lane in Lanes(lanes) {
                let value = w.get64(k, if chosen >> lane & 1 == 1 { i.a } else { i.b }, lane);
                w.set64(i.d, lane, value);
            }
        }
        Op::Slct32 => w.map(b, rows, |x, y, z| if z as i32 >= 0 { x } else { y }),
        Op::SlctF32 => w.map(b, rows, |x, y, z| if f(z) >= 0.0 { x } else { y }),
        Op::PredMov => {
            let value = w.predicate(i.a, i.extra & 1 == 1);
            w.decide(i.d, lanes, value);
        }
        Op::PredNot => {
            let value = !w.predicate(i.a, i.extra & 1 == 1);
            w.decide(i.d, lanes, value);
        }
        Op::PredLogic(logic) => {
            let (x, y) = (
                w.predicate(i.a, i.extra & 1 == 1),
                w.predicate(i.b, i.extra & 2 == 2),
            );
            w.decide(i.d, lanes, combine(logic, x, y));
        }
        Op::Load(access) => w.load(b, i, &access, lanes)?,
        Op::Store(access) => w.store(b, i, &access, lanes)?,
        Op::Atom(op, access) => w.atomic(b, i, op, &access, lanes)?,
        Op::CopyAsync {
            bytes,
            wide_global,
            origin,
        } => w.copy(b, i, bytes, (wide_global, origin), lanes)?,
        Op::CopyCommit => w.commit(lanes),
        Op::CopyWait => w.land(b, i.extra, lanes),
        Op::LoadMatrix {
            count,
            transpose,
            wide_address,
        } => w.load_matrix(b, i, (count, transpose, wide_address), lanes)?,
        Op::Mma(matrix) => w.multiply(b, i, matrix, lanes)?,
        Op::Shuffle(op) => match w.meet(b, i.c, lanes)? {
            Some(_) => w.shuffle(b, i, op, lanes)?,
            None => return Ok(Flow::Wait(Wait::Lanes)),
        },
        Op::Vote(vote) => match w.meet(b, i.c, lanes)? {
            Some(_) => w.vote(i, vote, lanes),
            None => return Ok(Flow::Wait(Wait::Lanes)),
        },
        Op::Redux(op) => match w.meet(b, i.b, lanes)? {
            Some(_) => w.reduce(b, i, op, lanes),
            None => return Ok(Flow::Wait(Wait::Lanes)),
        },
        Op::MatchAny => match w.meet(b, i.b, lanes)? {
            Some(_) => w.match_any(b, i, lanes),
            None => return Ok(Flow::Wait(Wait::Lanes)),
        },
        Op::WarpSync => {
            if w.meet(b, i.c, lanes)?.is_none() {
                return Ok(Flow::Wait(Wait::Lanes));
            }
        }
        Op::ActiveMask => {
            for lane in Lanes(lanes) {
                w.set32(i.d, lane, lanes);
            }
        }
        Op::ToGeneric(window) => w.map64(b, rows, |x, _, _| x.wrapping_add(window)),
        Op::FromGeneric(window) => w.map64(b, rows, |x, _, _| x.wrapping_sub(window)),
        Op::IsSpace(space) => {
            let found = w.test64(b, i.a, i.a, |x, _| space_of(x) == space);
            w.decide(i.d, lanes, found);
        }
        Op::Branch => return Ok(Flow::Jump(i.extra as u32)),
        Op::BranchIndexed => {
            let k = b.launch.kernel;
            let targets = &k.lists[i.list.0 as usize..][..i.list.1 as usize];
            let mut parts: Vec<(u32, u32)> = Vec::new();
            for lane in Lanes(lanes) {
                let Some(&to) = targets.get(w.get32(k, i.a, lane) as usize) else {
                    return Err(Stop::failed(lane, "the index is not in the table"));
                };
                match parts.iter_mut().find(|p| p.0 == to) {
                    Some(part) => part.1 |= 1 << lane,
                    None => parts.push((to, 1 << lane)),
                }
            }
            return Ok(Flow::Spread(parts));
        }
        Op::Barrier | Op::BarrierReduce(_) | Op::BarrierCount => {
            return Ok(Flow::Wait(Wait::Barrier));
        }
        Op::Exit => return Ok(Flow::Exit(lanes)),
        Op::Trap => return Err(Stop::failed(lanes.trailing_zeros(), "a trap")),
    }
    Ok(Flow::Next)
}
