//! What each operator makes of the shapes that it reads. They follow the ONNX operators of versions [`OPSETS`](super::cost::OPSETS)
//! (onnx.ai/onnx/operators), narrowed to what a colorizer may consist of.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::cost::LIST_MAX;
use super::tensors::{self, FLOAT, I8, I32, I64, U8};

/// The largest kernel side, stride, dilation or padding.
const WINDOW_MAX: i64 = 64;
/// The largest factor of a Resize, and one over the smallest.
const RESIZE_MAX: f32 = 16.0;
/// Scales outside this are no measurement of anything, and products of two of them leave the range of f32.
const SCALES: RangeInclusive<f32> = 1e-18..=1e18;

/// What is known of a tensor before anything runs.
#[derive(Clone)]
pub(super) struct Known<'a> {
    pub(super) data_type: i32,
    pub(super) shape: Vec<usize>,
    /// Whether it is the same in every frame.
    pub(super) fixed: bool,
    /// The stored tensor that it is.
    pub(super) stored: Option<&'a TensorProto>,
}

impl Known<'_> {
    pub(super) fn elements(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }

    /// A computed tensor.
    pub(super) fn new(data_type: i32, shape: Vec<usize>, fixed: bool) -> Self {
        Self { data_type, shape, fixed, stored: None }
    }
}

/// One node at work.
pub(super) struct Step<'a> {
    node: &'a NodeProto,
    inputs: Vec<Option<Known<'a>>>,
    pub(super) multiply_adds: u64,
    /// Of a convolution's or pool's input with every window written out.
    pub(super) window_elements: u64,
}

/// What a node makes, or why it cannot.
pub(super) type Outputs<'a> = Result<Vec<Known<'a>>, String>;

impl<'a> Step<'a> {
    /// A node that reads these, an absent input where its name is empty.
    pub(super) fn new(node: &'a NodeProto, inputs: Vec<Option<Known<'a>>>) -> Self {
        Self { node, inputs, multiply_adds: 0, window_elements: 0 }
    }

    /// Works out the node's outputs, and what they cost.
    pub(super) fn outputs(&mut self) -> Outputs<'a> {
        let (least, most) = match self.node.op_type.as_str() {
            "Constant" => (0, 0),
            "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "Reshape" => (2, 2),
            "QuantizeLinear" | "DequantizeLinear" | "Conv" | "ConvTranspose" | "Gemm" => (2, 3),
            "BatchNormalization" => (5, 5),
            "Clip" => (1, 3),
            "Concat" => (1, LIST_MAX),
            "Resize" => (2, 4),
            "Slice" => (3, 5),
            "Split" => (1, 2),
            _ => (1, 1),
        };
        if !(least..=most).contains(&self.inputs.len()) {
            return Err(format!("it has {} inputs; {least} to {most} are expected", self.inputs.len()));
        }
        let one = |value: Known<'a>| Ok(vec![value]);
        match self.node.op_type.as_str() {
            "Identity" => one(self.input(0)?.clone()),
            "Relu" | "LeakyRelu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh" | "Exp" | "Neg" => one(self.same(0)?),
            "Clip" => self.clip().map(|v| vec![v]),
            "Softmax" => {
                self.axis("axis", -1, self.float(0)?.shape.len())?;
                one(self.same(0)?)
            }
            "Cast" => one(self.cast()?),
            "QuantizeLinear" | "DequantizeLinear" => one(self.linear()?),
            "BatchNormalization" => one(self.batch_normalization()?),
            "Add" | "Sub" | "Mul" | "Div" => one(self.binary()?),
            "MatMul" => one(self.mat_mul()?),
            "Gemm" => one(self.gemm()?),
            "Conv" => one(self.conv()?),
            "ConvTranspose" => one(self.conv_transpose()?),
            "AveragePool" | "MaxPool" => one(self.pool()?),
            "GlobalAveragePool" => {
                let [n, c, _, _] = self.picture(0)?;
                one(Known::new(FLOAT, vec![n, c, 1, 1], self.fixed()))
            }
            "Concat" => one(self.concat()?),
            "Split" => self.split(),
            "Slice" => one(self.slice()?),
            "Reshape" => one(self.reshape()?),
            "Flatten" => {
                let x = self.input(0)?;
                let rank = x.shape.len();
                let at = self.int("axis", 1);
                let at = if at < 0 { at + rank as i64 } else { at };
                let at = usize::try_from(at).ok().filter(|&at| at <= rank).ok_or_else(|| format!("axis is {at} of {rank}"))?;
                let shape = vec![x.shape[..at].iter().product(), x.shape[at..].iter().product()];
                one(Known::new(x.data_type, shape, x.fixed))
            }
            "Transpose" => one(self.transpose()?),
            "Resize" => one(self.resize()?),
            "Constant" => one(self.constant()?),
            _ => Err("its rule is missing".into()),
        }
    }

    fn input(&self, index: usize) -> Result<&Known<'a>, String> {
        self.inputs.get(index).and_then(Option::as_ref).ok_or_else(|| format!("it has no input {index}"))
    }

    fn optional(&self, index: usize) -> Option<&Known<'a>> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    fn float(&self, index: usize) -> Result<&Known<'a>, String> {
        let value = self.input(index)?;
        if value.data_type != FLOAT {
            return Err(format!("its input {index} is of ONNX data type {}; it computes in float", value.data_type));
        }
        Ok(value)
    }

    /// A float input of four dimensions, as all pictures are.
    fn picture(&self, index: usize) -> Result<[usize; 4], String> {
        let shape = &self.float(index)?.shape;
        <[usize; 4]>::try_from(shape.as_slice()).map_err(|_| format!("its input {index} has shape {shape:?}; four dimensions are expected"))
    }

    /// The numbers of an int64 input that is stored in the file.
    fn longs(&self, index: usize) -> Result<Option<Vec<i64>>, String> {
        let Some(value) = self.optional(index) else { return Ok(None) };
        match value.stored {
            Some(tensor) if value.data_type == I64 && value.shape.len() == 1 && value.shape[0] <= LIST_MAX => {
                Ok(Some(tensors::longs(tensor)))
            }
            _ => Err(format!("its input {index} is no stored list of int64, so the shape of its output is not fixed")),
        }
    }

    /// Whether all inputs are the same in every frame.
    fn fixed(&self) -> bool {
        self.inputs.iter().flatten().all(|value| value.fixed)
    }

    fn same(&self, index: usize) -> Result<Known<'a>, String> {
        let x = self.float(index)?;
        Ok(Known::new(FLOAT, x.shape.clone(), self.fixed()))
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    fn text(&self, name: &str) -> &'a [u8] {
        self.attribute(name).map_or(&[], |attribute| &attribute.s)
    }

    fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        resolve(self.int(name, default), rank).ok_or_else(|| format!("{name} {} is not among {rank} dimensions", self.int(name, default)))
    }

    /// `N` numbers of an attribute, each within `range`.
    fn ints<const N: usize>(&self, name: &str, default: i64, range: RangeInclusive<i64>) -> Result<[usize; N], String> {
        let ints = self.attribute(name).map_or(&[][..], |attribute| &attribute.ints);
        match <[i64; N]>::try_from(ints) {
            Ok(ints) if ints.iter().all(|v| range.contains(v)) => Ok(ints.map(|v| v as usize)),
            Err(_) if ints.is_empty() => Ok([default as usize; N]),
            _ => Err(format!("{name} is {ints:?}; {N} numbers from {range:?} are expected")),
        }
    }

    fn clip(&self) -> Result<Known<'a>, String> {
        for index in 1..self.inputs.len() {
            if self.optional(index).is_some_and(|v| v.data_type != FLOAT || v.elements() != 1 || v.stored.is_none()) {
                return Err(format!("its bound {index} is not one stored float"));
            }
        }
        self.same(0)
    }

    fn cast(&self) -> Result<Known<'a>, String> {
        let to = self.int("to", 0);
        let to = i32::try_from(to)
            .ok()
            .filter(|&to| tensors::element_bytes(to).is_some())
            .ok_or_else(|| format!("it casts to ONNX data type {to}"))?;
        let x = self.input(0)?;
        Ok(Known::new(to, x.shape.clone(), x.fixed))
    }

    /// QuantizeLinear and DequantizeLinear.
    fn linear(&self) -> Result<Known<'a>, String> {
        let (x, scale) = (self.input(0)?, self.float(1)?);
        let Some(scales) = scale.stored else { return Err("its scale is computed; it must be stored".into()) };
        if let Some(scale) = tensors::floats(scales).find(|v| !SCALES.contains(v)) {
            return Err(format!("a scale is {scale}; {SCALES:?} is allowed"));
        }
        let zero_type = match self.optional(2) {
            None => U8,
            Some(zero) if zero.stored.is_some() && zero.shape == scale.shape => zero.data_type,
            Some(zero) => {
                return Err(format!("its zero point of shape {:?} is not stored, or not of its scale's {:?}", zero.shape, scale.shape));
            }
        };
        if zero_type == I32 && !self.optional(2).and_then(|zero| zero.stored).is_some_and(tensors::all_zero) {
            return Err("an int32 zero point is not 0".into());
        }
        let blocks = self.int("block_size", 0) != 0 || self.int("output_dtype", 0) != 0 || self.int("precision", 0) != 0;
        let per_axis = scale.elements() != 1;
        // The axis has a meaning only with a scale for each index along it.
        if blocks || per_axis && (scale.shape.len() != 1 || scale.shape[0] != x.shape[self.axis("axis", 1, x.shape.len())?]) {
            return Err(format!("its scales of shape {:?} do not fit its input of shape {:?}", scale.shape, x.shape));
        }
        let quantizes = self.node.op_type == "QuantizeLinear";
        let (from, to) = if quantizes { (x.data_type, zero_type) } else { (zero_type, x.data_type) };
        let fits = match quantizes {
            true => from == FLOAT && matches!(to, U8 | I8),
            false => matches!(to, U8 | I8 | I32) && (self.optional(2).is_none() || from == to),
        };
        if !fits {
            return Err(format!("its input is of ONNX data type {} and its zero point of {zero_type}", x.data_type));
        }
        Ok(Known::new(if quantizes { to } else { FLOAT }, x.shape.clone(), x.fixed))
    }

    fn batch_normalization(&self) -> Result<Known<'a>, String> {
        let [_, channels, _, _] = self.picture(0)?;
        for index in 1..5 {
            let parameter = self.float(index)?;
            if parameter.shape != [channels] || !parameter.fixed {
                return Err(format!(
                    "its parameter {index} has shape {:?} for {channels} channels, or is computed from a frame",
                    parameter.shape
                ));
            }
        }
        if self.int("training_mode", 0) != 0 {
            return Err("it is in training mode".into());
        }
        self.same(0)
    }

    fn binary(&self) -> Result<Known<'a>, String> {
        let (a, b) = (self.float(0)?, self.float(1)?);
        Ok(Known::new(FLOAT, broadcast(&a.shape, &b.shape)?, self.fixed()))
    }

    fn mat_mul(&mut self) -> Result<Known<'a>, String> {
        let (a, b) = (self.float(0)?.shape.clone(), self.float(1)?.shape.clone());
        let ([a_batch @ .., m, k], [b_batch @ .., b_k, n]) = (&a[..], &b[..]) else {
            return Err(format!("it multiplies shapes {a:?} and {b:?}"));
        };
        if k != b_k {
            return Err(format!("it multiplies shapes {a:?} and {b:?}"));
        }
        let mut shape = broadcast(a_batch, b_batch)?;
        shape.extend([*m, *n]);
        let result = Known::new(FLOAT, shape, self.fixed());
        self.multiply_adds = result.elements().saturating_mul(*k as u64);
        Ok(result)
    }

    fn gemm(&mut self) -> Result<Known<'a>, String> {
        let matrix = |index: usize, transposed: &str| -> Result<[usize; 2], String> {
            let shape = &self.float(index)?.shape;
            match shape[..] {
                [rows, columns] if self.int(transposed, 0) == 0 => Ok([rows, columns]),
                [columns, rows] => Ok([rows, columns]),
                _ => Err(format!("its input {index} has shape {shape:?}")),
            }
        };
        let ([m, k], [b_k, n]) = (matrix(0, "transA")?, matrix(1, "transB")?);
        let shape = vec![m, n];
        let added = if self.optional(2).is_some() { broadcast(&shape, &self.float(2)?.shape)? } else { shape.clone() };
        if k != b_k || added != shape {
            return Err(format!("it multiplies [{m}, {k}] by [{b_k}, {n}] and adds a tensor that makes {added:?} of it"));
        }
        let result = Known::new(FLOAT, shape, self.fixed());
        self.multiply_adds = result.elements().saturating_mul(k as u64);
        Ok(result)
    }

    /// The weights [A, B, y, x] of a convolution, its groups, and where it looks. `output` is how many channels come out, from weights and groups.
    fn convolution(&self, output: impl Fn([usize; 4], usize) -> usize) -> Result<([usize; 4], usize, Window), String> {
        let weights = self.picture(1)?;
        let fixed = self.optional(2).is_none_or(|bias| bias.fixed) && self.input(1)?.fixed;
        let group = self.int("group", 1);
        let group = usize::try_from(group).ok().filter(|&group| group >= 1).ok_or_else(|| format!("group is {group}"))?;
        let channels = output(weights, group);
        // Tract takes an input without a name for a bias.
        if self.inputs.len() == 3 && self.optional(2).is_none() {
            return Err("its bias has an empty name; leave the input out".into());
        }
        if self.optional(2).is_some() && self.float(2)?.shape != [channels] {
            return Err(format!("its bias has shape {:?} for {channels} channels", self.float(2)?.shape));
        }
        let kernel = self.ints::<2>("kernel_shape", 0, 1..=WINDOW_MAX)?;
        if !fixed || !(kernel == [0, 0] || kernel == weights[2..]) || weights[2..].iter().any(|&k| k as i64 > WINDOW_MAX) {
            return Err(format!("its weights of shape {weights:?} are computed from a frame, or not of its kernel_shape, or too wide"));
        }
        Ok((weights, group, Window::new(self, [weights[2], weights[3]])?))
    }

    fn conv(&mut self) -> Result<Known<'a>, String> {
        let [n, channels, height, width] = self.picture(0)?;
        let (weights, group, window) = self.convolution(|[out, ..], _| out)?;
        let [out, per_group, ky, kx] = weights;
        if per_group.checked_mul(group) != Some(channels) || out % group != 0 {
            return Err(format!("weights of shape {weights:?} in {group} groups do not fit {channels} channels"));
        }
        let result = Known::new(FLOAT, vec![n, out, window.output(0, height)?, window.output(1, width)?], self.fixed());
        self.multiply_adds = result.elements().saturating_mul((per_group * ky * kx) as u64);
        self.window_elements = result.elements() / out as u64 * (channels * ky * kx) as u64;
        Ok(result)
    }

    fn conv_transpose(&mut self) -> Result<Known<'a>, String> {
        let [n, channels, height, width] = self.picture(0)?;
        let (weights, group, window) = self.convolution(|[_, per_group, ..], group| per_group.saturating_mul(group))?;
        let [from, per_group, ky, kx] = weights;
        if from != channels || !from.is_multiple_of(group) || self.attribute("output_shape").is_some() || window.same {
            return Err(format!(
                "weights of shape {weights:?} do not fit {channels} channels, or its output's shape is not given by its pads"
            ));
        }
        let more = self.ints::<2>("output_padding", 0, 0..=WINDOW_MAX)?;
        let side = |axis: usize, size: usize| {
            ((size - 1) * window.strides[axis] + window.extent(axis) + more[axis])
                .checked_sub(window.pads[axis] + window.pads[axis + 2])
                .filter(|&size| size > 0 && more[axis] < window.strides[axis].max(window.dilations[axis]))
                .ok_or_else(|| "its pads leave nothing of its output".to_owned())
        };
        let result = Known::new(FLOAT, vec![n, per_group.saturating_mul(group), side(0, height)?, side(1, width)?], self.fixed());
        self.window_elements = ((n * height * width) as u64).saturating_mul((per_group * group * ky * kx) as u64);
        self.multiply_adds = self.window_elements.saturating_mul((channels / group) as u64);
        Ok(result)
    }

    fn pool(&mut self) -> Result<Known<'a>, String> {
        let x = self.input(0)?;
        let shape = <[usize; 4]>::try_from(x.shape.as_slice()).map_err(|_| format!("its input has shape {:?}", x.shape))?;
        let [n, channels, height, width] = shape;
        if x.data_type != FLOAT && (self.node.op_type == "AveragePool" || !matches!(x.data_type, U8 | I8)) {
            return Err(format!("its input is of ONNX data type {}", x.data_type));
        }
        let kernel = self.ints::<2>("kernel_shape", 0, 1..=WINDOW_MAX)?;
        let window = Window::new(self, kernel)?;
        if kernel == [0, 0] || self.int("storage_order", 0) != 0 || (0..4).any(|side| window.pads[side] >= kernel[side % 2]) {
            return Err("its kernel_shape is missing, its pads are as large as it, or its storage_order is not 0".into());
        }
        let result = Known::new(x.data_type, vec![n, channels, window.output(0, height)?, window.output(1, width)?], x.fixed);
        self.multiply_adds = result.elements().saturating_mul((kernel[0] * kernel[1]) as u64);
        Ok(result)
    }

    fn concat(&self) -> Result<Known<'a>, String> {
        let first = self.input(0)?.clone();
        let axis = self.axis("axis", 0, first.shape.len())?;
        let mut shape = first.shape;
        for index in 1..self.inputs.len() {
            let next = self.input(index)?;
            let others =
                |shape: &[usize]| -> Vec<usize> { shape.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, &d)| d).collect() };
            if next.data_type != first.data_type || next.shape.len() != shape.len() || others(&next.shape) != others(&shape) {
                return Err(format!("its input {index} has shape {:?} beside {shape:?}, or another data type", next.shape));
            }
            shape[axis] += next.shape[axis];
        }
        Ok(Known::new(first.data_type, shape, self.fixed()))
    }

    fn split(&self) -> Outputs<'a> {
        let x = self.input(0)?;
        let axis = self.axis("axis", 0, x.shape.len())?;
        let (size, parts) = (x.shape[axis], self.node.output.len());
        if self.attribute("num_outputs").is_some_and(|a| a.i != parts as i64) {
            return Err(format!("num_outputs is not the {parts} outputs it has"));
        }
        let sizes = match self.longs(1)? {
            Some(sizes) => sizes,
            None if parts > 0 && size.is_multiple_of(parts) => vec![(size / parts) as i64; parts],
            None => return Err(format!("{size} do not go into {parts} equal parts")),
        };
        if sizes.len() != parts || sizes.iter().any(|s| !(1..=size as i64).contains(s)) || sizes.iter().sum::<i64>() != size as i64 {
            return Err(format!("it splits {size} into {sizes:?} for {parts} outputs"));
        }
        let part = |size: i64| {
            let mut shape = x.shape.clone();
            shape[axis] = size as usize;
            Known::new(x.data_type, shape, self.fixed())
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    fn slice(&self) -> Result<Known<'a>, String> {
        let x = self.input(0)?;
        let rank = x.shape.len();
        let (starts, ends) = (self.longs(1)?.unwrap_or_default(), self.longs(2)?.unwrap_or_default());
        let axes = self.longs(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.longs(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("its starts, ends, axes and steps are not as many".into());
        }
        let mut shape = x.shape.clone();
        let mut seen = HashSet::new();
        for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let at = resolve(axis, rank)
                .filter(|&at| seen.insert(at))
                .ok_or_else(|| format!("axis {axis} is not among {rank} dimensions, or there twice"))?;
            let size = shape[at] as i64;
            let inside = |v: i64| if v < 0 { v.saturating_add(size) } else { v }.clamp(0, size);
            let (start, end) = (inside(start), inside(end));
            if start >= end || !(1..=size).contains(&step) {
                return Err(format!("it takes {start} to {end} in steps of {step} of {size}"));
            }
            shape[at] = (end - start).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
        }
        Ok(Known::new(x.data_type, shape, self.fixed()))
    }

    fn reshape(&self) -> Result<Known<'a>, String> {
        let x = self.input(0)?;
        let wanted = self.longs(1)?.unwrap_or_default();
        let fail = || format!("it makes {wanted:?} of {:?}", x.shape);
        let mut shape = Vec::with_capacity(wanted.len());
        for (at, &size) in wanted.iter().enumerate() {
            shape.push(match size {
                0 if self.int("allowzero", 0) == 0 => *x.shape.get(at).ok_or_else(fail)?,
                -1 => 1,
                1.. => usize::try_from(size).ok().filter(|&size| size <= tensors::ELEMENTS_MAX).ok_or_else(fail)?,
                _ => return Err(fail()),
            });
        }
        let product = shape.iter().fold(1_usize, |product, &size| product.saturating_mul(size));
        let elements = x.elements() as usize;
        match wanted.iter().filter(|&&size| size == -1).count() {
            0 if product == elements => {}
            1 if product > 0 && elements.is_multiple_of(product) => {
                let at = wanted.iter().position(|&size| size == -1).unwrap_or(0);
                shape[at] = elements / product;
            }
            _ => return Err(fail()),
        }
        Ok(Known::new(x.data_type, shape, self.fixed()))
    }

    fn transpose(&self) -> Result<Known<'a>, String> {
        let x = self.input(0)?;
        let rank = x.shape.len();
        let order: Vec<i64> = match self.attribute("perm") {
            Some(perm) => perm.ints.clone(),
            None => (0..rank as i64).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if sorted != (0..rank as i64).collect::<Vec<_>>() {
            return Err(format!("perm {order:?} is no order of {rank} dimensions"));
        }
        Ok(Known::new(x.data_type, order.into_iter().map(|at| x.shape[at as usize]).collect(), x.fixed))
    }

    fn resize(&self) -> Result<Known<'a>, String> {
        let x = self.input(0)?;
        let rank = x.shape.len();
        if self.text("coordinate_transformation_mode") == b"tf_crop_and_resize" || self.attribute("axes").is_some() {
            return Err("it crops, or names axes; give a scale for each dimension".into());
        }
        if x.data_type != FLOAT && !(self.text("mode") == b"nearest" && matches!(x.data_type, U8 | I8)) {
            return Err(format!("its input is of ONNX data type {}", x.data_type));
        }
        if self.optional(1).is_some_and(|roi| roi.elements() != 0) {
            return Err("it has a region of interest".into());
        }
        let given = |index: usize| self.optional(index).filter(|v| v.elements() != 0);
        let sizes = match (given(2), given(3)) {
            (Some(scales), None) => {
                let stored = scales.stored.filter(|_| scales.data_type == FLOAT).ok_or("its scales are computed; they must be stored")?;
                let scales: Vec<f32> = tensors::floats(stored).collect();
                if scales.len() != rank || scales.iter().any(|s| !(1.0 / RESIZE_MAX..=RESIZE_MAX).contains(s)) {
                    return Err(format!("its scales are {scales:?}; {rank} from {} to {RESIZE_MAX} are expected", 1.0 / RESIZE_MAX));
                }
                x.shape.iter().zip(scales).map(|(&size, scale)| (size as f32 * scale).floor() as usize).collect()
            }
            (None, Some(_)) => {
                let sizes = self.longs(3)?.unwrap_or_default();
                let near = |(&size, &from): (&i64, &usize)| {
                    let factor = size as f32 / from as f32;
                    size >= 1 && (1.0 / RESIZE_MAX..=RESIZE_MAX).contains(&factor)
                };
                if sizes.len() != rank
                    || !sizes.iter().zip(&x.shape).all(near)
                    || !matches!(self.text("keep_aspect_ratio_policy"), b"" | b"stretch")
                {
                    return Err(format!("its sizes are {sizes:?} for {:?}; factors to {RESIZE_MAX} are allowed", x.shape));
                }
                sizes.into_iter().map(|size| size as usize).collect()
            }
            _ => return Err("it has neither scales nor sizes, or both".into()),
        };
        Ok(Known::new(x.data_type, sizes, self.fixed()))
    }

    fn constant(&self) -> Result<Known<'a>, String> {
        let [attribute] = &self.node.attribute[..] else { return Err("it has not exactly one attribute".into()) };
        match (attribute.name.as_str(), &attribute.t) {
            ("value", Some(tensor)) => {
                let shape = tensors::check(tensor).map_err(|e| e.to_string())?;
                Ok(Known { data_type: tensor.data_type, shape, fixed: true, stored: Some(tensor) })
            }
            _ => Err("its value is no tensor".into()),
        }
    }
}

/// Where a convolution or a pool looks.
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Above, left, below, right.
    pads: [usize; 4],
    /// Whether the pads are chosen so that only the stride shrinks the picture.
    same: bool,
    ceil: bool,
}

impl Window {
    fn new(step: &Step, kernel: [usize; 2]) -> Result<Self, String> {
        let same = match step.text("auto_pad") {
            b"" | b"NOTSET" | b"VALID" => false,
            b"SAME_UPPER" | b"SAME_LOWER" => true,
            other => return Err(format!("auto_pad is {:?}", String::from_utf8_lossy(other))),
        };
        let pads = step.ints::<4>("pads", 0, 0..=WINDOW_MAX)?;
        if !matches!(step.text("auto_pad"), b"" | b"NOTSET") && pads != [0; 4] {
            return Err("it has both pads and auto_pad".into());
        }
        Ok(Self {
            kernel,
            strides: step.ints("strides", 1, 1..=WINDOW_MAX)?,
            dilations: step.ints("dilations", 1, 1..=WINDOW_MAX)?,
            pads,
            same,
            ceil: step.int("ceil_mode", 0) != 0,
        })
    }

    /// How far the window reaches along an axis.
    fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis].max(1) - 1) + 1
    }

    fn output(&self, axis: usize, size: usize) -> Result<usize, String> {
        if self.same {
            return Ok(size.div_ceil(self.strides[axis]));
        }
        let room = (size + self.pads[axis] + self.pads[axis + 2])
            .checked_sub(self.extent(axis))
            .ok_or_else(|| format!("its window reaches over {}, more than the {size} it looks at and their pads", self.extent(axis)))?;
        Ok(if self.ceil { room.div_ceil(self.strides[axis]) } else { room / self.strides[axis] } + 1)
    }
}

/// The dimension that a possibly negative `axis` names.
fn resolve(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// The shape of an element-wise result.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let padded = |shape: &[usize], at: usize| if at + shape.len() < rank { 1 } else { shape[at + shape.len() - rank] };
    (0..rank)
        .map(|at| match (padded(a, at), padded(b, at)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(format!("shapes {a:?} and {b:?} do not go together")),
        })
        .collect()
}
