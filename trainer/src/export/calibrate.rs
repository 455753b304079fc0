//! The ranges of the activations, found by running the float model in Tract over training data with every activation tapped.

use std::collections::HashMap;

use anyhow::Context;
use autochrome_model::contract;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;

use crate::data::lanes::Lanes;

/// Chunks of data that an export looks at.
pub const CHUNKS: u64 = 96;
/// Histogram cells between a tensor's least and greatest value.
const CELLS: usize = 4096;
/// The share of values that may be clipped at either end. Rare peaks would otherwise cost every value its precision.
const CLIPPED: f64 = 2e-5;

/// The range of each tapped tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    /// Least and greatest value, a share of 2e-5 clipped at either end.
    pub of: HashMap<String, (f32, f32)>,
    /// How they were found, for the model's metadata.
    pub summary: String,
}

/// Finds the ranges of every activation of `float` over `chunks` chunks of the lanes.
///
/// # Errors
/// If Tract cannot run the model.
pub fn calibrate(float: &ModelProto, lanes: &Lanes, chunks: u64) -> anyhow::Result<Ranges> {
    let mut ranges: HashMap<String, (f32, f32)> = HashMap::new();
    // Twice over the same frames: first the extremes, then what lies between them.
    watch(float, lanes, chunks, &mut |name, values| {
        let range = ranges.entry(name.to_owned()).or_insert((f32::MAX, f32::MIN));
        *range = values.iter().fold(*range, |(low, high), &v| (low.min(v), high.max(v)));
    })?;
    let mut histograms: HashMap<String, Vec<u64>> = HashMap::new();
    watch(float, lanes, chunks, &mut |name, values| {
        let (low, high) = ranges[name];
        let histogram = histograms.entry(name.to_owned()).or_insert_with(|| vec![0; CELLS]);
        let scale = CELLS as f32 / (high - low).max(1e-12);
        for &v in values {
            histogram[(((v - low) * scale) as usize).min(CELLS - 1)] += 1;
        }
    })?;
    for (name, histogram) in &histograms {
        let (low, high) = ranges[name];
        let allowed = (histogram.iter().sum::<u64>() as f64 * CLIPPED) as u64;
        let cells_until = |cells: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            cells
                .take_while(|count| {
                    seen += **count;
                    seen <= allowed
                })
                .count()
        };
        let step = (high - low) / CELLS as f32;
        let clipped =
            (low + cells_until(&mut histogram.iter()) as f32 * step, high - cells_until(&mut histogram.iter().rev()) as f32 * step);
        ranges.insert(name.clone(), clipped);
    }
    let frames = chunks as usize * lanes.config().chunk_frames;
    let summary = format!("{frames} recurrent frames of augmented training data; {CLIPPED} of the values clipped at either end");
    Ok(Ranges { of: ranges, summary })
}

/// Runs `float` over `chunks` chunks of the lanes (one lane), the state carried as on a device, and shows `see` the lightness and every
/// activation of every frame, by name.
///
/// # Errors
/// If Tract cannot run the model.
pub fn watch(float: &ModelProto, lanes: &Lanes, chunks: u64, see: &mut dyn FnMut(&str, &[f32])) -> anyhow::Result<()> {
    let mut tapped = float.clone();
    let graph = tapped.graph.as_mut().context("the model has no graph")?;
    let made: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let names: Vec<String> = made.into_iter().filter(|name| !graph.output.iter().any(|o| &o.name == name)).collect();
    graph.output.extend(names.iter().map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() }));
    let all: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let shape = contract::check(float)?;
    let plan = tract_onnx::onnx().model_for_proto_model(&tapped)?.into_optimized()?.into_runnable()?;
    let zero = || -> TractResult<Vec<TValue>> { shape.states.iter().map(|s| Ok(Tensor::zero::<f32>(s)?.into())).collect() };
    let mut states = zero()?;
    for number in 0..chunks {
        let chunk = lanes.chunk(number);
        for (plane, &reset) in chunk.lightness.chunks_exact(shape.width * shape.height).zip(&chunk.reset) {
            if reset {
                states = zero()?;
            }
            let lightness: TValue = Tensor::from_shape(&[1, 1, shape.height, shape.width], plane)?.into();
            see(contract::LIGHTNESS, plane);
            let outputs = plan.run(std::iter::once(lightness).chain(states.iter().cloned()).collect())?;
            for (name, value) in all.iter().zip(&outputs) {
                see(name, value.try_as_plain_ram()?.as_slice::<f32>()?);
            }
            states = outputs[1..1 + states.len()].to_vec();
        }
    }
    Ok(())
}
