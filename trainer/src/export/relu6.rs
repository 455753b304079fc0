//! ReLU6 as one operator.

use anyhow::Context;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use super::fold::{float_tensor, initializer, tensor_floats};

/// Writes relu(x) - relu(x - cap), which is how a network says it for `burn-onnx` (Burn's clamp is not lowered), as Clip.
///
/// # Errors
/// If the model has no graph.
pub fn clip_relu6(model: &mut ModelProto) -> anyhow::Result<()> {
    let graph = model.graph.as_mut().context("the model has no graph")?;
    while let Some(found) = find(graph) {
        let name = graph.node[found.difference].name.clone();
        let bounds = [("least", 0.0), ("greatest", found.cap)].map(|(which, value)| {
            let bound = format!("{name}_{which}");
            graph.initializer.push(float_tensor(&bound, &[], &[value]));
            bound
        });
        let [least, greatest] = bounds;
        let node = &mut graph.node[found.difference];
        node.op_type = "Clip".into();
        node.input = vec![found.x, least, greatest];
        let mut gone = found.others;
        gone.sort_unstable();
        for at in gone.into_iter().rev() {
            graph.node.remove(at);
        }
    }
    let used: std::collections::HashSet<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
    graph.initializer.retain(|tensor| used.contains(&tensor.name));
    Ok(())
}

/// Four nodes that are one.
struct Found {
    difference: usize,
    others: [usize; 3],
    x: String,
    cap: f32,
}

fn find(graph: &GraphProto) -> Option<Found> {
    let maker = |name: &str, op: &str| graph.node.iter().position(|n| n.op_type == op && n.output.iter().any(|o| o == name));
    let readers = |name: &str| graph.node.iter().filter(|n| n.input.iter().any(|i| i == name)).count();
    let matched = |(difference, node): (usize, &NodeProto)| {
        let (low, high) = (maker(&node.input[0], "Relu")?, maker(&node.input[1], "Relu")?);
        let (x, shifted) = (&graph.node[low].input[0], &graph.node[high].input[0]);
        let shift = maker(shifted, "Sub")?;
        let cap = tensor_floats(initializer(graph, &graph.node[shift].input[1]).ok()?).ok()?;
        let own = [&node.input[0], &node.input[1], shifted].into_iter().all(|name| readers(name) == 1);
        let whole = &graph.node[shift].input[0] == x && cap.len() == 1 && cap[0] > 0.0 && own;
        whole.then(|| Found { difference, others: [low, high, shift], x: x.clone(), cap: cap[0] })
    };
    graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "Sub").find_map(matched)
}
