//! Single operations, in PTX written by hand, against values worked out by hand or by the host.
use sslc_cuda_sim::{Argument::*, Device};

/// What `%r4` holds after `code`, which finds its operands in `%r1` to `%r3` and may use registers of all kinds.
#[track_caller]
fn run(code: &str, operands: [u32; 3]) -> u32 {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_param_0)\n{{\n\
         .reg .b16 %h<9>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.reg .f64 %fd<9>;\n.reg .pred %p<9>;\n\
         ld.param.u64 %rd8, [k_param_0];\nld.global.u32 %r1, [%rd8];\nld.global.u32 %r2, [%rd8+4];\n\
         ld.global.u32 %r3, [%rd8+8];\nmov.b32 %f1, %r1;\nmov.b32 %f2, %r2;\nmov.b32 %f3, %r3;\nmov.u32 %r4, 0;\n\
         {code}\nst.global.u32 [%rd8+12], %r4;\nret;\n}}\n"
    );
    let mut device = Device::default();
    let module = device
        .load(&text)
        .unwrap_or_else(|e| panic!("{e} in\n{text}"));
    let bytes: Vec<u8> = operands
        .iter()
        .chain(&[0])
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let buffer = device.upload(&bytes).unwrap();
    device
        .launch(&module, "k", [1, 1, 1], [1, 1, 1], 0, &[Pointer(buffer)])
        .unwrap();
    let found = device.download(buffer + 12, 4).unwrap();
    u32::from_le_bytes(found.try_into().unwrap())
}

/// The same with floats.
#[track_caller]
fn float(code: &str, operands: [f32; 3]) -> f32 {
    f32::from_bits(run(
        &format!("{code}\nmov.b32 %r4, %f4;"),
        operands.map(f32::to_bits),
    ))
}

#[test]
fn whole_numbers() {
    let minus = |v: u32| v.wrapping_neg();
    for (code, operands, expected) in [
        ("div.s32 %r4, %r1, %r2;", [minus(7), 2, 0], minus(3)),
        ("rem.s32 %r4, %r1, %r2;", [minus(7), 2, 0], minus(1)),
        ("div.u32 %r4, %r1, %r2;", [7, 0, 0], u32::MAX),
        ("mul.hi.s32 %r4, %r1, %r2;", [minus(1), 3, 0], minus(1)),
        ("mad.hi.u32 %r4, %r1, %r2, %r3;", [1 << 31, 4, 5], 7),
        ("sad.s32 %r4, %r1, %r2, %r3;", [minus(3), 4, 10], 17),
        ("abs.s32 %r4, %r1;", [minus(9), 0, 0], 9),
        ("min.s32 %r4, %r1, %r2;", [minus(1), 1, 0], minus(1)),
        ("min.u32 %r4, %r1, %r2;", [minus(1), 1, 0], 1),
        ("shr.s32 %r4, %r1, 40;", [minus(8), 0, 0], u32::MAX),
        ("shl.b32 %r4, %r1, 32;", [minus(8), 0, 0], 0),
        ("bfind.u32 %r4, %r1;", [0x0008_0000, 0, 0], 19),
        ("bfind.shiftamt.u32 %r4, %r1;", [0x0008_0000, 0, 0], 12),
        ("bfe.s32 %r4, %r1, 4, 4;", [0x00f0, 0, 0], u32::MAX),
        (
            "bfi.b32 %r4, %r1, %r2, 8, 8;",
            [0xab, 0x1234_5678, 0],
            0x1234_ab78,
        ),
        (
            "lop3.b32 %r4, %r1, %r2, %r3, 0x96;",
            [12, 10, 9],
            12 ^ 10 ^ 9,
        ),
        (
            "prmt.b32 %r4, %r1, %r2, 0x7610;",
            [0x0302_0100, 0x0706_0504, 0],
            0x0706_0100,
        ),
        ("shf.r.clamp.b32 %r4, %r1, %r2, 36;", [1, 2, 0], 2),
        ("slct.b32.s32 %r4, %r1, %r2, %r3;", [5, 6, minus(1)], 6),
        ("cnot.b32 %r4, %r1;", [0, 0, 0], 1),
        (
            "mul.wide.s32 %rd1, %r1, %r2;\nshr.s64 %rd1, %rd1, 32;\ncvt.u32.u64 %r4, %rd1;",
            [minus(2), 3, 0],
            u32::MAX,
        ),
        (
            "cvt.u64.u32 %rd1, %r1;\nbfi.b64 %rd1, %rd1, %rd1, 32, 32;\nmul.hi.u64 %rd1, %rd1, 16;\ncvt.u32.u64 %r4, %rd1;",
            [0x3000_0000, 0, 0],
            3,
        ),
        (
            "mov.b32 {%h1, %h2}, %r1;\nadd.s16 %h3, %h1, %h2;\ncvt.s32.s16 %r4, %h3;",
            [0x7fff_0001, 0, 0],
            (-32768i32) as u32,
        ),
        (
            "mov.b32 {%h1, %h2}, %r1;\nmul.wide.s16 %r4, %h1, %h2;",
            [0xffff_0003, 0, 0],
            minus(3),
        ),
        (
            "mov.b64 %rd1, {%r1, %r2};\nmov.b64 {%r3, %r4}, %rd1;",
            [1, 2, 0],
            2,
        ),
    ] {
        assert_eq!(run(code, operands), expected, "{code}");
    }
}

#[test]
fn comparisons_and_predicates() {
    for (code, operands, expected) in [
        (
            "setp.lt.s32 %p1, %r1, %r2;\nselp.b32 %r4, 1, 2, %p1;",
            [u32::MAX, 0, 0],
            1,
        ),
        (
            "setp.lo.u32 %p1, %r1, %r2;\nselp.b32 %r4, 1, 2, %p1;",
            [u32::MAX, 0, 0],
            2,
        ),
        (
            "setp.eq.s32 %p1|%p2, %r1, %r2;\nselp.b32 %r4, 1, 2, %p2;",
            [3, 4, 0],
            1,
        ),
        (
            "setp.eq.s32 %p1, %r1, %r2;\nsetp.gt.and.s32 %p1, %r3, 0, %p1;\nselp.b32 %r4, 1, 2, %p1;",
            [3, 3, 1],
            1,
        ),
        (
            "setp.eq.s32 %p1, %r1, %r2;\nsetp.gt.or.s32 %p1, %r3, 0, !%p1;\nselp.b32 %r4, 1, 2, %p1;",
            [3, 3, 0],
            2,
        ),
        (
            "setp.gt.f32 %p1, %f1, %f2;\nselp.b32 %r4, 1, 2, %p1;",
            [0x7fc0_0000, 0, 0],
            2,
        ),
        (
            "setp.gtu.f32 %p1, %f1, %f2;\nselp.b32 %r4, 1, 2, %p1;",
            [0x7fc0_0000, 0, 0],
            1,
        ),
        (
            "setp.eq.s32 %p1, %r1, 3;\nnot.pred %p2, %p1;\nxor.pred %p3, %p1, %p2;\n@%p3 mov.u32 %r4, 8;\n@!%p1 mov.u32 %r4, 9;",
            [3, 0, 0],
            8,
        ),
        ("mov.u32 %r4, 5;\n@%p4 mov.u32 %r4, 6;", [0, 0, 0], 5),
        (
            "bra $A;\n$B: mov.u32 %r4, 7;\nbra $C;\n$A: bra.uni $B;\n$C:",
            [0, 0, 0],
            7,
        ),
        (
            "brx.idx %r1, $T;\n$T: .branchtargets $A, $B;\n$A: mov.u32 %r4, 1;\nbra $C;\n$B: mov.u32 %r4, 2;\n$C:",
            [1, 0, 0],
            2,
        ),
    ] {
        assert_eq!(run(code, operands), expected, "{code}");
    }
}

#[test]
fn floats() {
    let tiny = f32::from_bits(1);
    for (code, operands, expected) in [
        (
            "fma.rn.f32 %f4, %f1, %f2, %f3;",
            [1.0 + f32::EPSILON, 1.0 - f32::EPSILON, -1.0],
            -f32::EPSILON * f32::EPSILON,
        ),
        (
            "fma.rm.f32 %f4, %f1, %f2, %f3;",
            [1.0, 1.0, -1e-20],
            1f32.next_down(),
        ),
        (
            "add.rz.f32 %f4, %f1, %f2;",
            [-1.0, 1e-20, 0.0],
            (-1f32).next_up(),
        ),
        ("add.sat.f32 %f4, %f1, %f2;", [0.7, 0.7, 0.0], 1.0),
        ("mul.ftz.f32 %f4, %f1, %f2;", [tiny, 1.0, 0.0], 0.0),
        ("mul.f32 %f4, %f1, %f2;", [tiny, 1.0, 0.0], tiny),
        ("min.f32 %f4, %f1, %f2;", [f32::NAN, 2.0, 0.0], 2.0),
        ("div.rn.f32 %f4, %f1, %f2;", [1.0, 3.0, 0.0], 1.0 / 3.0),
        (
            "sqrt.rn.f32 %f4, %f1;",
            [2.0, 0.0, 0.0],
            std::f32::consts::SQRT_2,
        ),
        ("ex2.approx.ftz.f32 %f4, %f1;", [-3.0, 0.0, 0.0], 0.125),
        ("lg2.approx.f32 %f4, %f1;", [8.0, 0.0, 0.0], 3.0),
        ("rsqrt.approx.f32 %f4, %f1;", [16.0, 0.0, 0.0], 0.25),
        ("cvt.rni.f32.f32 %f4, %f1;", [2.5, 0.0, 0.0], 2.0),
        ("cvt.rzi.f32.f32 %f4, %f1;", [-2.5, 0.0, 0.0], -2.0),
        (
            "cvt.rpi.s32.f32 %r5, %f1;\ncvt.rn.f32.s32 %f4, %r5;",
            [2.1, 0.0, 0.0],
            3.0,
        ),
        (
            "cvt.rzi.u32.f32 %r5, %f1;\ncvt.rn.f32.u32 %f4, %r5;",
            [-2.1, 0.0, 0.0],
            0.0,
        ),
        (
            "cvt.rn.f16.f32 %h1, %f1;\ncvt.f32.f16 %f4, %h1;",
            [1.0 + f32::EPSILON, 0.0, 0.0],
            1.0,
        ),
        (
            "cvt.f64.f32 %fd1, %f1;\nfma.rn.f64 %fd1, %fd1, %fd1, %fd1;\ncvt.rn.f32.f64 %f4, %fd1;",
            [3.0, 0.0, 0.0],
            12.0,
        ),
        ("copysign.f32 %f4, %f1, %f2;", [-1.0, 3.0, 0.0], -3.0),
        ("neg.f32 %f4, %f1;", [3.0, 0.0, 0.0], -3.0),
    ] {
        assert_eq!(
            float(code, operands).to_bits(),
            expected.to_bits(),
            "{code}"
        );
    }
    assert!(float("max.NaN.f32 %f4, %f1, %f2;", [f32::NAN, 2.0, 0.0]).is_nan());
}

#[test]
fn pairs_of_bf16() {
    let pair = |high: f32, low: f32| high.to_bits() & 0xffff_0000 | low.to_bits() >> 16;
    for (code, operands, expected) in [
        (
            "fma.rn.bf16x2 %r4, %r1, %r2, %r3;",
            [pair(2.0, 3.0), pair(4.0, -1.0), pair(1.0, 0.5)],
            pair(9.0, -2.5),
        ),
        (
            "add.rn.bf16x2 %r4, %r1, %r2;",
            [pair(2.0, 3.0), pair(4.0, -1.0), 0],
            pair(6.0, 2.0),
        ),
        (
            "max.bf16x2 %r4, %r1, %r2;",
            [pair(2.0, 3.0), pair(4.0, -1.0), 0],
            pair(4.0, 3.0),
        ),
        (
            "neg.bf16x2 %r4, %r1;",
            [pair(2.0, -3.0), 0, 0],
            pair(-2.0, 3.0),
        ),
        (
            "cvt.rn.bf16x2.f32 %r4, %f1, %f2;",
            [1.5f32.to_bits(), (-2f32).to_bits(), 0],
            pair(1.5, -2.0),
        ),
        (
            "cvt.rn.relu.bf16x2.f32 %r4, %f1, %f2;",
            [1.5f32.to_bits(), (-2f32).to_bits(), 0],
            pair(1.5, 0.0),
        ),
        // 256 + 1 is between two bf16; the sum is rounded once.
        (
            "fma.rn.bf16x2 %r4, %r1, %r2, %r3;",
            [
                pair(256.0, 0.0),
                pair(1.0, 0.0),
                pair(1.0 + 1.0 / 128.0, 0.0),
            ],
            pair(258.0, 0.0),
        ),
    ] {
        assert_eq!(run(code, operands), expected, "{code}");
    }
}

#[test]
fn what_an_atomic_finds_and_leaves() {
    for (op, old, operand, new) in [
        ("add.u32", 3, 4, 7),
        ("min.s32", 3, -4i32 as u32, -4i32 as u32),
        ("max.u32", 3, 9, 9),
        ("inc.u32", 3, 3, 0),
        ("dec.u32", 0, 5, 5),
        ("exch.b32", 3, 8, 8),
        ("xor.b32", 3, 1, 2),
    ] {
        let atomic = format!("atom.global.{op} %r5, [%rd8], %r2;\n");
        assert_eq!(
            run(&format!("{atomic}mov.u32 %r4, %r5;"), [old, operand, 0]),
            old,
            "{op}"
        );
        // The thread's own atomic is no race with what it reads.
        assert_eq!(
            run(
                &format!("{atomic}ld.global.u32 %r4, [%rd8];"),
                [old, operand, 0]
            ),
            new,
            "{op}"
        );
    }
    assert_eq!(
        run(
            "atom.global.cas.b32 %r5, [%rd8], 3, 9;\nld.global.u32 %r4, [%rd8];",
            [3, 0, 0]
        ),
        9
    );
}

#[test]
fn addresses_of_all_spaces() {
    let shared = ".shared .align 4 .b8 s[8];\nmov.u64 %rd1, s;\ncvta.shared.u64 %rd2, %rd1;\nst.u32 [%rd2+4], %r1;\nld.shared.u32 %r4, [s+4];";
    assert_eq!(run(shared, [42, 0, 0]), 42);
    let local = ".local .align 4 .b8 l[8];\nmov.u64 %rd1, l;\ncvta.local.u64 %rd2, %rd1;\nst.local.u32 [%rd1+4], %r1;\nld.u32 %r4, [%rd2+4];";
    assert_eq!(run(local, [43, 0, 0]), 43);
    assert_eq!(
        run(
            "isspacep.global %p1, %rd8;\nselp.b32 %r4, 1, 0, %p1;",
            [0, 0, 0]
        ),
        1
    );
    assert_eq!(
        run(
            "st.global.u16 [%rd8+2], %r2;\nld.global.s8 %r4, [%rd8+2];",
            [0, 0x80, 0]
        ),
        -128i32 as u32
    );
}
