//! A stored tensor holds what it says: of a type that a colorizer needs, all of its elements, nothing more, and only finite numbers.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::{ContractError, broken};

/// The most elements of any tensor, stored or computed.
pub(super) const ELEMENTS_MAX: usize = 1 << 24;
/// The most dimensions of any tensor.
pub(super) const RANK_MAX: usize = 6;

pub(super) const FLOAT: i32 = DataType::Float as i32;
pub(super) const U8: i32 = DataType::Uint8 as i32;
pub(super) const I8: i32 = DataType::Int8 as i32;
pub(super) const I32: i32 = DataType::Int32 as i32;
pub(super) const I64: i32 = DataType::Int64 as i32;

/// The bytes of an element, or `None` for a type that no colorizer needs.
pub(super) fn element_bytes(data_type: i32) -> Option<usize> {
    match data_type {
        U8 | I8 => Some(1),
        FLOAT | I32 => Some(4),
        I64 => Some(8),
        _ => None,
    }
}

/// The shape as sizes, if no dimension is negative and the elements are not too many. A list without elements may be one-dimensional only.
pub(super) fn shape(what: &str, dims: &[i64]) -> Result<Vec<usize>, ContractError> {
    let mut elements = 1_usize;
    if dims.len() > RANK_MAX {
        return broken(format!("{what} has {} dimensions; at most {RANK_MAX} are allowed", dims.len()));
    }
    let mut shape = Vec::with_capacity(dims.len());
    for &dim in dims {
        let Ok(size) = usize::try_from(dim) else { return broken(format!("{what} has a dimension of {dim}")) };
        elements = elements.saturating_mul(size);
        shape.push(size);
    }
    if elements > ELEMENTS_MAX || (elements == 0 && dims.len() > 1) {
        return broken(format!("{what} has {elements} elements in shape {dims:?}; 1 to {ELEMENTS_MAX} are allowed"));
    }
    Ok(shape)
}

/// Checks a stored tensor, and gives its shape.
pub(super) fn check(tensor: &TensorProto) -> Result<Vec<usize>, ContractError> {
    let name = &tensor.name;
    if !tensor.external_data.is_empty() || tensor.data_location.is_some_and(|l| l != 0) {
        return broken(format!("tensor {name:?} keeps its data in another file; store the weights in the model file"));
    }
    let Some(bytes) = element_bytes(tensor.data_type) else {
        return broken(format!(
            "tensor {name:?} is of ONNX data type {}; a colorizer's tensors are float, uint8, int8, int32 or int64",
            tensor.data_type
        ));
    };
    let shape = shape(&format!("tensor {name:?}"), &tensor.dims)?;
    let elements: usize = shape.iter().product();
    let typed = match tensor.data_type {
        FLOAT => tensor.float_data.len(),
        I64 => tensor.int64_data.len(),
        _ => tensor.int32_data.len(),
    };
    let all = tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len()
        + tensor.string_data.len();
    let whole =
        if tensor.raw_data.is_empty() { typed == elements && all == typed } else { tensor.raw_data.len() == elements * bytes && all == 0 };
    if !whole || tensor.segment.is_some() {
        return broken(format!(
            "tensor {name:?} of shape {:?} should hold {elements} elements, but stores {} bytes and {all} numbers",
            tensor.dims,
            tensor.raw_data.len()
        ));
    }
    // A NaN anywhere turns the state, and with it every later frame, into NaN.
    if tensor.data_type == FLOAT && floats(tensor).any(|v| !v.is_finite()) {
        return broken(format!("tensor {name:?} holds a weight that is not a finite number"));
    }
    Ok(shape)
}

/// The elements of a float tensor.
pub(super) fn floats(tensor: &TensorProto) -> impl Iterator<Item = f32> + '_ {
    let raw = tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    tensor.float_data.iter().copied().chain(raw)
}

/// The elements of an int64 tensor.
pub(super) fn longs(tensor: &TensorProto) -> Vec<i64> {
    let raw = tensor.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]));
    tensor.int64_data.iter().copied().chain(raw).collect()
}

/// Whether all elements of an integer tensor are zero.
pub(super) fn all_zero(tensor: &TensorProto) -> bool {
    tensor.raw_data.iter().all(|&b| b == 0) && tensor.int32_data.iter().all(|&v| v == 0) && tensor.int64_data.iter().all(|&v| v == 0)
}
