//! What goes from one program to another on the GPU.

use super::elsewhere::{is_on_gpu, on_gpu};
use crate::{CudaDevice, CudaLoaded};
use sslc_compiler::kernels::device::Loaded;
use sslc_compiler::kernels::ir::{BufferId, Element};
use sslc_kernel_testing::Building;
use std::rc::Rc;

/// A program of these buffers and no kernel.
fn loaded(device: &CudaDevice, buffers: [Vec<f32>; 2]) -> CudaLoaded {
    let mut building = Building::default();
    let [first, second] = buffers;
    building.buffer(first);
    building.buffer_of(Element::Bf16, second);
    let program = Rc::new(building.program);
    let loaded = device.load_own(program).unwrap();
    for (i, contents) in building.contents.iter().enumerate() {
        loaded.write(BufferId(i as u32), contents);
    }
    loaded
}

#[test]
fn a_buffer_is_copied_from_another_program() {
    if !is_on_gpu() {
        if let Some(Err(said)) = on_gpu("copies::a_buffer_is_copied_from_another_program", "") {
            panic!("{said}");
        }
        return;
    }
    let device = CudaDevice::open(0, 1).unwrap();
    let from = loaded(&device, [vec![1.0, 2.0, 3.0], vec![4.0, 5.0]]);
    let to = loaded(&device, [vec![0.0; 3], vec![0.0; 3]]);
    let [first, second] = [BufferId(0), BufferId(1)];
    assert!(to.copy_from(first, &from, first));
    assert!(!to.copy_from(first, &from, second), "another type");
    assert!(!to.copy_from(second, &from, second), "another size");
    // What is written later was not there when the copy was asked for.
    from.write(first, &[7.0; 3]);
    let mut got = [0.0; 3];
    to.read(first, &mut got);
    assert_eq!(got, [1.0, 2.0, 3.0]);
    assert!(to.failure().is_none() && from.failure().is_none());
}
