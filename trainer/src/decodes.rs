//! The decodes of one model side by side: what becomes of the same logits. A model that gives colors itself is one column beside them.

use anyhow::Context;
use autochrome_model::{Colorizer, Decode, LumaRange, Output, Painter, Picture, Step};
use image::RgbImage;

use crate::evaluate::grey_luma;
use crate::figure::Cell;
use crate::figure::pictures::{is_colored, without_color};

/// A strip of all decodes has the annealed mean at these temperatures.
pub const TEMPERATURES: [f32; 4] = [0.1, 0.38, 0.6, 0.8];
/// And the blend at these tau.
pub const TAUS: [f32; 2] = [0.25, 2.0];

/// Every decode, from the boldest to the most careful, then the blends.
pub fn all() -> Vec<Decode> {
    let annealed = TEMPERATURES.map(|temperature| Decode::AnnealedMean { temperature });
    let blends = TAUS.map(|tau| Decode::Blend { tau });
    [Decode::Argmax].into_iter().chain(annealed).chain([Decode::Mean]).chain(blends).collect()
}

/// The annealed mean at these temperatures: a temperature strip.
pub fn annealed(temperatures: &[f32]) -> Vec<Decode> {
    temperatures.iter().map(|&temperature| Decode::AnnealedMean { temperature }).collect()
}

/// A decode's caption.
pub fn caption(decode: Decode) -> String {
    match decode {
        Decode::Argmax => "mode".into(),
        Decode::Mean => "mean".into(),
        Decode::AnnealedMean { temperature } => format!("T {temperature}"),
        Decode::Blend { tau } => format!("blend {tau}"),
    }
}

/// Whether a model has bins. One that gives colors itself has nothing to decode.
pub fn has_bins(colorizer: &Colorizer) -> bool {
    matches!(colorizer.contract().card.output, Output::ColorLogits { .. })
}

/// One painter for many strips, with saturation 1: the card's would color what the decodes are compared by.
pub fn painter(colorizer: Colorizer) -> Painter {
    let mut painter = Painter::new(colorizer, LumaRange::Full);
    painter.set_saturation(1.0);
    painter
}

/// Grey | each decode of each model with bins, and "regression" of each without | the truth, where the picture has color. Every network sees
/// the picture once, from a zero state.
///
/// # Errors
/// If a model fails.
pub fn row(painters: &mut [Painter], picture: &RgbImage, decodes: &[Decode]) -> anyhow::Result<Vec<Cell>> {
    let (width, height) = picture.dimensions();
    let luma = grey_luma(picture, width as usize, height as usize);
    let mut row = vec![Cell::new("grey", without_color(picture))];
    for painter in painters {
        let mut painted = Picture { luma: luma.clone(), ..Picture::default() };
        let mut color = |painter: &mut Painter, caption: String| -> anyhow::Result<()> {
            // Only the first steps the network; the others decode what it said then.
            painter.paint_into(&mut painted, Step::Hold).with_context(|| format!("color a picture of {width}x{height}"))?;
            let rgb = RgbImage::from_raw(width, height, painted.to_rgb(LumaRange::Full)).context("a picture has three bytes a pixel")?;
            row.push(Cell::new(caption, rgb));
            Ok(())
        };
        painter.reset();
        if !has_bins(painter.colorizer()) {
            color(painter, "regression".into())?;
            continue;
        }
        for &decode in decodes {
            painter.set_decode(decode);
            color(painter, caption(decode))?;
        }
    }
    if is_colored(picture) {
        row.push(Cell::new("truth", picture.clone()));
    }
    Ok(row)
}

/// A model without bins, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
pub(crate) mod made_up {
    use autochrome_model::contract::{self, Card, write_card};
    use autochrome_model::{Colorizer, Output};
    use prost::Message;
    use tract_onnx::pb::*;

    fn value(name: &str, shape: [i64; 4]) -> ValueInfoProto {
        let dim = |size| tensor_shape_proto::Dimension {
            denotation: String::new(),
            value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
        };
        let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim: shape.map(dim).to_vec() }) };
        let r#type = TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) };
        ValueInfoProto { name: name.into(), r#type: Some(r#type), doc_string: String::new() }
    }

    /// 16x8 pixels in; a* is the mean scaled lightness of 4x4 pixels, b* its negative, and the state counts a* up.
    pub(crate) fn regression() -> Colorizer {
        let ints =
            |name: &str, ints: [i64; 2]| AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: 7, ..AttributeProto::default() };
        let node = |op: &str, inputs: [&str; 2], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            op_type: op.into(),
            input: inputs.map(String::from).to_vec(),
            output: vec![output.into()],
            name: output.into(),
            attribute,
            ..NodeProto::default()
        };
        let weights: Vec<u8> = [1.0_f32 / 16.0, -1.0 / 16.0].iter().flat_map(|w| [*w; 16]).flat_map(f32::to_le_bytes).collect();
        let weight = TensorProto { name: "w".into(), dims: vec![2, 1, 4, 4], data_type: 1, raw_data: weights, ..TensorProto::default() };
        let attributes = vec![ints("strides", [4, 4]), ints("kernel_shape", [4, 4])];
        let graph = GraphProto {
            name: "made up".into(),
            node: vec![node("Conv", ["lightness", "w"], "ab", attributes), node("Add", ["state_0_in", "ab"], "state_0_out", Vec::new())],
            initializer: vec![weight],
            input: vec![value("lightness", [1, 1, 8, 16]), value("state_0_in", [1, 2, 2, 4])],
            output: vec![value("ab", [1, 2, 2, 4]), value("state_0_out", [1, 2, 2, 4])],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
        let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
        let card = Card {
            name: "made up".into(),
            output: Output::Ab,
            temperature: 1.0,
            saturation: 1.0,
            color: contract::COLOR_CONSTANTS.into(),
            training: "made up".into(),
            license: "none".into(),
            calibration: None,
            float_parent_sha256: None,
        };
        write_card(&mut model, &card);
        Colorizer::from_bytes("made up", &model.encode_to_vec()).unwrap()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
mod tests {
    use std::path::Path;

    use image::Rgb;

    use super::*;

    #[test]
    fn a_regression_model_is_one_column_beside_the_decodes() {
        let bins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/autochrome-192x144-float.onnx");
        let mut painters = [painter(Colorizer::load(&bins).unwrap()), painter(made_up::regression())];
        let picture = RgbImage::from_fn(32, 16, |x, y| Rgb([7 * x as u8, 9 * y as u8, 80]));
        let decodes = [Decode::Argmax, Decode::Mean];
        let found = row(&mut painters, &picture, &decodes).unwrap();
        assert_eq!(found.iter().map(|cell| cell.caption.as_str()).collect::<Vec<_>>(), ["grey", "mode", "mean", "regression", "truth"]);
        assert!(found[3].picture != found[0].picture, "it colors");
        let alone = row(&mut painters[1..], &picture, &decodes).unwrap();
        assert_eq!(alone.len(), 3);
        assert!(alone[1].picture == found[3].picture);
    }
}
