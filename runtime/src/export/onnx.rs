//! A model of ONNX operators as an `.onnx` file.
//!
//! The messages are the part of ONNX's `onnx.proto` (IR version 8) that such a model needs, with its field numbers.

use super::{Trained, description};
use crate::tensors::{cannot_write, write_atomically};
use prost::{Message, Oneof};
use sslc_compiler::core::interp::Tensor;
use sslc_compiler::onnx::model::{Attr, Constant, Element, Extent, Model, Port};
use sslc_compiler::onnx::{Batch, OPSET, translate};
use sslc_grammar::diag::Diagnostic;
use std::path::Path;

const IR_VERSION: i64 = 8;
/// The name of the batch's axis in the model.
const BATCH: &str = "N";

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetId>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetId {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    /// 2: an integer, 7: integers.
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    /// 1: float, 7: int64, 9: bool.
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(oneof = "Size", tags = "1, 2")]
    size: Option<Size>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Size {
    #[prost(int64, tag = "1")]
    Value(i64),
    #[prost(string, tag = "2")]
    Name(String),
}

fn code(element: Element) -> i32 {
    match element {
        Element::F32 => 1,
        Element::I64 => 7,
        Element::Bool => 9,
    }
}

fn port(port: &Port) -> ValueInfo {
    let dim = port
        .shape
        .iter()
        .map(|extent| Dimension {
            size: Some(match extent {
                Extent::Fixed(n) => Size::Value(*n as i64),
                Extent::Batch => Size::Name(BATCH.to_owned()),
            }),
        })
        .collect();
    ValueInfo {
        name: port.name.clone(),
        kind: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: code(port.element),
                shape: Some(ShapeProto { dim }),
            }),
        }),
    }
}

fn tensor(name: &str, constant: &Constant) -> TensorProto {
    let values = constant.data.iter();
    let raw_data = match constant.element {
        Element::F32 => values.flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        Element::I64 => values.flat_map(|v| (*v as i64).to_le_bytes()).collect(),
        Element::Bool => values.map(|v| u8::from(*v != 0.0)).collect(),
    };
    TensorProto {
        dims: constant.shape.iter().map(|n| *n as i64).collect(),
        data_type: code(constant.element),
        name: name.to_owned(),
        raw_data,
    }
}

fn attribute(name: &str, value: &Attr) -> AttributeProto {
    let (i, ints, kind) = match value {
        Attr::Int(v) => (Some(*v), vec![], 2),
        Attr::Ints(v) => (None, v.clone(), 7),
    };
    AttributeProto {
        name: name.to_owned(),
        i,
        ints,
        kind,
    }
}

/// The bytes of an `.onnx` file.
pub fn encode(
    model: &Model,
    name: &str,
    about: impl IntoIterator<Item = (String, String)>,
) -> Vec<u8> {
    let node = model
        .nodes
        .iter()
        .map(|n| NodeProto {
            input: n.inputs.clone(),
            output: vec![n.output.clone()],
            name: n.name.clone(),
            op_type: n.op.to_owned(),
            attribute: n.attrs.iter().map(|(k, v)| attribute(k, v)).collect(),
        })
        .collect();
    let graph = GraphProto {
        node,
        name: name.to_owned(),
        initializer: model
            .initializers
            .iter()
            .map(|(name, constant)| tensor(name, constant))
            .collect(),
        input: model.inputs.iter().map(port).collect(),
        output: model.outputs.iter().map(port).collect(),
    };
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "sslc".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetId {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: about
            .into_iter()
            .map(|(key, value)| Entry { key, value })
            .collect(),
    }
    .encode_to_vec()
}

/// What one file may hold: protobuf's own limit.
const MOST: usize = i32::MAX as usize;

/// Writes the encoder as an ONNX model: `images` [N, C, H, W], as after `normalize`, to `features` [N, D].
///
/// # Errors
/// When ONNX has no form of the encoder, or the file cannot be written.
pub fn write(trained: Trained<'_>, path: &Path) -> Result<(), Diagnostic> {
    let program = trained.program;
    let shape = |path: &str| {
        let parameter = program.parameters.iter().find(|p| p.path == path);
        let buffer = || program.buffers.iter().find(|b| b.path == path);
        parameter
            .map(|p| p.shape.clone())
            .or_else(|| buffer().map(|b| b.shape.clone()))
    };
    let weights = |key: &str| {
        let path = key.split_once('/')?.1;
        Some(Tensor {
            shape: shape(path)?,
            data: trained
                .values
                .get(path)?
                .iter()
                .map(|v| f64::from(*v))
                .collect(),
        })
    };
    let prefix = format!("{}.", program.networks[program.encode.network].name);
    let graph = &program.encode.evaluate;
    let model = translate(graph, &weights, &prefix, Batch::Dynamic)
        .map_err(|refusal| refusal.diagnostic(graph))?;
    let bytes = encode(&model, &program.name, description(trained));
    if bytes.len() > MOST {
        return Err(cannot_write(
            path,
            "an ONNX file holds at most 2 GiB; export the weights as .safetensors",
        ));
    }
    write_atomically(path, &bytes)
}
