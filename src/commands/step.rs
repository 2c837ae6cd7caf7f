//! `sslc step`: one exact training step from given tensors.

use crate::cli::{Global, SpecArgs};
use crate::compile::{Compilation, Failure};
use crate::report::Reporter;
use sslc_compiler::program::Program;
use sslc_cuda::Choices;
use sslc_grammar::codes;
use sslc_grammar::diag::{Diagnostic, nearest};
use sslc_runtime::layout;
use sslc_runtime::names::Names;
use sslc_runtime::tensors::{self, Data, FileTensor, Tensors};
use sslc_runtime::train::init;
use sslc_runtime::train::stepper::Stepper;
use std::path::Path;

pub struct Request<'a> {
    pub inputs: Option<&'a Path>,
    pub output: &'a Path,
    pub at_step: u64,
    pub init_only: bool,
}

/// Makes the step and writes its output; with `init_only`, writes the initial parameters and buffers.
pub fn run(
    spec: &SpecArgs,
    request: &Request,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let compilation = Compilation::from_args(spec)?;
    super::warn(&compilation, reporter);
    let program = &compilation.program;
    let initial = init::start(program, &mut |notice| {
        reporter.tell(&compilation.sources, notice);
    })?;
    let names = Names::new(program);
    if request.init_only {
        let out = initial
            .iter()
            .map(|(path, value)| (path.clone(), names.to_file(path, value)))
            .collect();
        tensors::write(request.output, &out)?;
        return Ok(0);
    }
    let target = super::target(global)?;
    let mut tuning = target.tuning(Choices::default());
    let mut stepper = Stepper::tuned(program, &target, &initial, true, &mut tuning)?;
    if let Some(path) = request.inputs {
        set_inputs(&mut stepper, program, &names, &tensors::read(path)?)?;
    }
    stepper.set_step(request.at_step);
    for _ in 0..program.train.accumulate {
        stepper.run()?;
    }
    let outputs = outputs(&stepper, &names);
    stepper.check()?;
    tensors::write(request.output, &outputs)?;
    Ok(0)
}

fn set_inputs(
    stepper: &mut Stepper,
    program: &Program,
    names: &Names,
    inputs: &Tensors,
) -> Result<(), Diagnostic> {
    let batch = program.train.batch;
    let mut known: Vec<String> = vec!["labels".to_owned()];
    for view in &program.views {
        known.push(view.name.clone());
        let file_shape = [batch, view.channels, view.height, view.width];
        let Some(tensor) = inputs.get(&view.name) else {
            return Err(missing(&view.name, &file_shape));
        };
        let data = floats(&view.name, tensor, &file_shape)?;
        stepper.set_view(&view.name, &layout::nchw_to_nhwc(data, &file_shape));
    }
    let sources = stepper.sources();
    match inputs.get("labels") {
        Some(tensor) => stepper.set_labels(&labels(tensor, batch)?),
        None if sources.iter().any(|(name, _)| name == "labels") => {
            return Err(missing("labels", &[batch]));
        }
        None => {}
    }
    for (name, tensor) in inputs {
        if known.contains(name) {
            continue;
        }
        let Some((inside, layout)) = names.find(name) else {
            return Err(unknown(name, program, &known));
        };
        let data = floats(name, tensor, &layout::file_shape(layout, inside))?;
        let data = layout::from_file(layout, data, inside);
        let found = ["param", "buffer", "state"]
            .iter()
            .any(|kind| stepper.set_value(&format!("{kind}/{name}"), &data))
            || stepper.set_value(name, &data);
        let declared = program.parameters.iter().any(|p| p.path == *name)
            || program.buffers.iter().any(|b| b.path == *name);
        if !found && !declared {
            return Err(unknown(name, program, &known));
        }
    }
    Ok(())
}

fn missing(name: &str, shape: &[usize]) -> Diagnostic {
    Diagnostic::new(
        codes::E0660,
        format!("the inputs hold no tensor '{name}', which has shape {shape:?}"),
    )
    .help("every view of the spec is given under its name")
}

fn unknown(name: &str, program: &Program, known: &[String]) -> Diagnostic {
    let paths = program
        .parameters
        .iter()
        .map(|p| p.path.as_str())
        .chain(program.buffers.iter().map(|b| b.path.as_str()))
        .chain(known.iter().map(String::as_str));
    let diagnostic = Diagnostic::new(
        codes::E0662,
        format!("the inputs hold a tensor '{name}' that the spec does not know"),
    );
    match nearest(name, paths) {
        Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
        None => diagnostic.help("`sslc step SPEC --init-only` writes all names"),
    }
}

fn wrong_shape(name: &str, found: &[usize], wanted: &[usize]) -> Diagnostic {
    Diagnostic::new(
        codes::E0661,
        format!("the tensor '{name}' has shape {found:?}; the spec has {wanted:?}"),
    )
    .help("views are [batch, channels, height, width]; `--set batch=…` changes a spec's batch")
}

fn floats<'t>(
    name: &str,
    tensor: &'t FileTensor,
    shape: &[usize],
) -> Result<&'t [f32], Diagnostic> {
    if tensor.shape != shape {
        return Err(wrong_shape(name, &tensor.shape, shape));
    }
    match &tensor.data {
        Data::F32(values) => Ok(values),
        Data::I64(_) => Err(Diagnostic::new(
            codes::E0653,
            format!("the tensor '{name}' holds integers"),
        )
        .help("only `labels` are integers")),
    }
}

fn labels(tensor: &FileTensor, batch: usize) -> Result<Vec<f32>, Diagnostic> {
    if tensor.shape != [batch] {
        return Err(wrong_shape("labels", &tensor.shape, &[batch]));
    }
    match &tensor.data {
        Data::I64(values) => Ok(values.iter().map(|v| *v as f32).collect()),
        Data::F32(_) => Err(
            Diagnostic::new(codes::E0653, "the tensor 'labels' holds floats")
                .help("labels are class indices, integers"),
        ),
    }
}

/// Everything a step makes: feature maps become NCHW, parameters and their kin PyTorch's layout.
fn outputs(stepper: &Stepper, names: &Names) -> Tensors {
    let mut out = Tensors::new();
    for (name, shape) in stepper.outputs() {
        let Some(value) = stepper.value(&name) else {
            continue;
        };
        let of_parameter = ["grad/", "param/", "buffer/", "state/"]
            .iter()
            .any(|kind| name.starts_with(kind));
        let tensor = if of_parameter {
            names.to_file(&name, &value)
        } else if let [n, h, w, c] = shape[..] {
            FileTensor::f32(&[n, c, h, w], layout::nhwc_to_nchw(&value, &shape))
        } else {
            FileTensor::f32(&shape, value)
        };
        out.insert(name, tensor);
    }
    out
}
