use crate::core::graph::Type;
use crate::core::ops::{self, REGISTRY};
use std::collections::BTreeSet;

#[test]
fn names_are_unique_and_found() {
    let names: BTreeSet<&str> = REGISTRY.iter().map(|op| op.name).collect();
    assert_eq!(names.len(), REGISTRY.len());
    for op in REGISTRY {
        assert_eq!(ops::find(op.name), Some(*op));
        assert!(
            op.doc.ends_with('.'),
            "the doc of {} is a sentence",
            op.name
        );
    }
    assert_eq!(ops::find("no_such_op"), None);
}

#[test]
fn samples_fit_the_shape_rules() {
    for op in REGISTRY {
        for sample in (op.sample)() {
            let attrs = op.check_attrs(sample.attrs.clone()).unwrap();
            let types: Vec<&Type> = sample.args.iter().map(|a| &a.ty).collect();
            if let Err(e) = op.result_type(&types, &attrs) {
                panic!("{}: {e}", op.name);
            }
        }
    }
}
