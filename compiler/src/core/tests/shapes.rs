//! What is said of arguments that do not fit.

use crate::core::graph::{Attr, DType, Type};
use crate::core::ops::{self, Op};

fn f(shape: &[usize]) -> Type {
    Type::f32(shape)
}

fn i(shape: &[usize]) -> Type {
    Type::new(DType::I32, shape)
}

fn told(op: Op, args: &[Type], attrs: &[(&'static str, Attr)]) -> String {
    let attrs = op.check_attrs(attrs.to_vec()).unwrap();
    let args: Vec<&Type> = args.iter().collect();
    match op.result_type(&args, &attrs) {
        Ok(ty) => panic!("{} is fine: {ty}", op.name),
        Err(e) => format!("{}: {} {:?}", op.name, e.message, e.args),
    }
}

fn sizes(v: &[usize]) -> Attr {
    v.into()
}

#[test]
fn elementwise() {
    let mask = Type::new(DType::Bool, &[2]);
    let lines = [
        told(&ops::ADD, &[f(&[2, 3]), f(&[3])], &[]),
        told(&ops::ADD, &[f(&[2]), i(&[2])], &[]),
        told(&ops::MUL, &[mask.clone(), mask.clone()], &[]),
        told(&ops::DIV, &[i(&[2]), i(&[2])], &[]),
        told(&ops::EXP, &[i(&[2])], &[]),
        told(&ops::NEG, std::slice::from_ref(&mask), &[]),
        told(&ops::NOT, &[f(&[2])], &[]),
        told(&ops::SELECT, &[f(&[2]), f(&[2]), f(&[2])], &[]),
        told(&ops::SELECT, &[mask, f(&[3]), f(&[3])], &[]),
        told(&ops::CAST, &[f(&[2])], &[("dtype", "f64".into())]),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn shapes_and_reductions() {
    let huge = f(&[60_000_000, 30_000_000]);
    let lines = [
        told(&ops::SUM, &[f(&[2, 3])], &[("axes", sizes(&[2]))]),
        told(&ops::SUM, &[f(&[2, 3])], &[("axes", sizes(&[1, 1]))]),
        told(&ops::ARGMAX, &[f(&[2, 3])], &[("axis", Attr::Int(-1))]),
        told(
            &ops::VARIANCE,
            &[f(&[4, 3]), f(&[4])],
            &[("axes", sizes(&[0]))],
        ),
        told(&ops::RESHAPE, &[f(&[2, 3])], &[("shape", sizes(&[4]))]),
        told(&ops::TRANSPOSE, &[f(&[2, 3])], &[("perm", sizes(&[0, 0]))]),
        told(
            &ops::BROADCAST,
            &[f(&[3])],
            &[("shape", sizes(&[2, 4])), ("dims", sizes(&[1]))],
        ),
        told(
            &ops::BROADCAST,
            &[f(&[])],
            &[
                ("shape", sizes(&[70_000_000, 70_000_000])),
                ("dims", sizes(&[])),
            ],
        ),
        told(
            &ops::CONCAT,
            &[f(&[2, 3]), f(&[2, 4])],
            &[("axis", 0usize.into())],
        ),
        told(
            &ops::CONCAT,
            &[huge.clone(), huge],
            &[("axis", 0usize.into())],
        ),
        told(
            &ops::SLICE,
            &[f(&[4])],
            &[("start", sizes(&[3])), ("end", sizes(&[3]))],
        ),
        told(
            &ops::PAD,
            &[f(&[4])],
            &[("low", Attr::Ints(vec![-1])), ("high", sizes(&[0]))],
        ),
        told(
            &ops::TAKE,
            &[f(&[4, 2]), i(&[3])],
            &[("axis", 2usize.into())],
        ),
        told(
            &ops::TAKE,
            &[f(&[4, 2]), f(&[3])],
            &[("axis", 0usize.into())],
        ),
        told(
            &ops::IOTA,
            &[],
            &[("shape", sizes(&[])), ("axis", 0usize.into())],
        ),
        told(
            &ops::UNIFORM,
            &[f(&[])],
            &[
                ("seed", 0usize.into()),
                ("stream", 0usize.into()),
                ("shape", sizes(&[2])),
            ],
        ),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn contractions_and_windows() {
    let straight = [("ta", false.into()), ("tb", false.into())];
    let turned = [("ta", true.into()), ("tb", false.into())];
    let conv = |stride: usize, padding: usize, groups: usize| {
        [
            ("stride", stride.into()),
            ("padding", padding.into()),
            ("groups", groups.into()),
        ]
    };
    let pool = |kernel: usize, stride: usize, padding: usize| {
        [
            ("kernel", kernel.into()),
            ("stride", stride.into()),
            ("padding", padding.into()),
        ]
    };
    let images = f(&[2, 8, 8, 3]);
    let lines = [
        told(&ops::MATMUL, &[f(&[2, 3]), f(&[4, 5])], &straight),
        told(&ops::MATMUL, &[f(&[2, 3]), f(&[3, 5])], &turned),
        told(&ops::MATMUL, &[f(&[3]), f(&[3, 5])], &straight),
        told(&ops::MATMUL, &[f(&[2, 2, 3]), f(&[4, 3, 5])], &straight),
        told(
            &ops::CONV2D,
            &[f(&[8, 8, 3]), f(&[3, 3, 3, 4])],
            &conv(1, 1, 1),
        ),
        told(
            &ops::CONV2D,
            &[images.clone(), f(&[3, 5, 3, 4])],
            &conv(1, 1, 1),
        ),
        told(
            &ops::CONV2D,
            &[images.clone(), f(&[3, 3, 4, 4])],
            &conv(1, 1, 1),
        ),
        told(
            &ops::CONV2D,
            &[images.clone(), f(&[3, 3, 3, 4])],
            &conv(1, 1, 0),
        ),
        told(
            &ops::CONV2D,
            &[images.clone(), f(&[9, 9, 3, 4])],
            &conv(1, 0, 1),
        ),
        told(
            &ops::CONV2D,
            &[images.clone(), f(&[3, 3, 3, 4])],
            &conv(0, 1, 1),
        ),
        told(
            &ops::MAX_POOL,
            std::slice::from_ref(&images),
            &pool(3, 2, 2),
        ),
        told(&ops::AVG_POOL, &[images], &pool(9, 1, 0)),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}
