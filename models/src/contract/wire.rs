//! What an ONNX file takes in memory once it is decoded, found without decoding it.
//!
//! Protobuf unpacks into more than it is: two bytes can be an empty node or attribute, which is hundreds of bytes as a structure, and a packed
//! integer of one byte becomes eight. A file of the largest size that is read could ask for gigabytes.

use std::mem::size_of;

use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    TensorShapeProto, TrainingInfoProto, TypeProto, ValueInfoProto, tensor_proto, tensor_shape_proto, type_proto,
};

/// How deep messages may stand in each other. The deepest of a colorizer is a dimension of an input's type: 6.
const DEPTH_MAX: usize = 24;

/// The messages of `onnx.proto` that hold others.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TypeTensor,
    Shape,
    Training,
    Annotation,
    /// One without further messages.
    Leaf,
}

/// What a length-delimited field becomes.
enum Field {
    /// A message, and the bytes of its structure.
    Message(Message, usize),
    /// Numbers, and how many bytes each byte of the file becomes at most.
    Packed(usize),
    /// Text or bytes.
    Bytes,
}

fn field(message: Message, tag: u64) -> Field {
    use Field::{Bytes, Message as Inner, Packed};
    let graph = Inner(Message::Graph, size_of::<GraphProto>());
    let tensor = Inner(Message::Tensor, size_of::<TensorProto>());
    let sparse = Inner(Message::SparseTensor, size_of::<SparseTensorProto>());
    let entry = Inner(Message::Leaf, size_of::<StringStringEntryProto>());
    match (message, tag) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) | (Message::Training, 1 | 2) => graph,
        (Message::Model, 8) => Inner(Message::Leaf, size_of::<OperatorSetIdProto>()),
        (Message::Model, 14) | (Message::Training, 3 | 4) | (Message::Annotation, 2) => entry,
        (Message::Model, 20) => Inner(Message::Training, size_of::<TrainingInfoProto>()),
        (Message::Graph, 1) => Inner(Message::Node, size_of::<NodeProto>()),
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => tensor,
        (Message::Graph, 11..=13) => Inner(Message::ValueInfo, size_of::<ValueInfoProto>()),
        (Message::Graph, 14) => Inner(Message::Annotation, size_of::<TensorAnnotation>()),
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => sparse,
        (Message::Node, 5) => Inner(Message::Attribute, size_of::<AttributeProto>()),
        (Message::Attribute, 14 | 15) | (Message::ValueInfo, 2) => Inner(Message::Type, size_of::<TypeProto>()),
        (Message::Tensor, 3) => Inner(Message::Leaf, size_of::<tensor_proto::Segment>()),
        (Message::Tensor, 13) => entry,
        (Message::Type, 1) => Inner(Message::TypeTensor, size_of::<type_proto::Tensor>()),
        (Message::TypeTensor, 2) => Inner(Message::Shape, size_of::<TensorShapeProto>()),
        (Message::Shape, 1) => Inner(Message::Leaf, size_of::<tensor_shape_proto::Dimension>()),
        (Message::Tensor, 5) => Packed(size_of::<i32>()),
        (Message::Tensor, 1 | 7 | 11) | (Message::Attribute, 8) | (Message::SparseTensor, 3) => Packed(size_of::<i64>()),
        _ => Bytes,
    }
}

/// The bytes that decoding `file` takes at most, `file` itself not counted, or what is wrong with it.
pub(super) fn decoded_bytes(file: &[u8]) -> Result<usize, String> {
    message_bytes(Message::Model, file, 0)
}

fn message_bytes(message: Message, mut rest: &[u8], depth: usize) -> Result<usize, String> {
    if depth > DEPTH_MAX {
        return Err(format!("its messages stand more than {DEPTH_MAX} deep in each other"));
    }
    let mut bytes = 0_usize;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        bytes = bytes.saturating_add(match key & 7 {
            0 => varint(&mut rest).map(|_| size_of::<u64>())?,
            1 => take(&mut rest, 8)?.len(),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| CUT)?;
                let inner = take(&mut rest, length)?;
                match field(message, key >> 3) {
                    // A list that grows is up to twice as large as what is in it.
                    Field::Message(kind, structure) => message_bytes(kind, inner, depth + 1)?.saturating_add(2 * structure),
                    Field::Packed(factor) => inner.len().saturating_mul(factor),
                    Field::Bytes => inner.len() + 2 * size_of::<String>(),
                }
            }
            5 => take(&mut rest, 4)?.len(),
            kind => return Err(format!("a field of wire type {kind}, which ONNX does not use")),
        });
    }
    Ok(bytes)
}

const CUT: &str = "it ends in the middle of a field; copy the file again";

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number of more than ten bytes".into())
}
