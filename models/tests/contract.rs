//! The contract against files that keep it and files that break it, all made here.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use autochrome_model::contract::{self, Card, Output, write_card};
use autochrome_model::{Chroma, Colorizer, ContractError, LumaRange, ModelError, Plane, color};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| Dimension { value: Some(Value::DimValue(d)), ..Dimension::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|&s| s.into()).collect();
    NodeProto { op_type: op_type.into(), name: output.into(), input, output: vec![output.into()], attribute, ..NodeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), r#type: 7, ..AttributeProto::default() }
}

/// A colorizer small enough to compute by hand: a* is the mean scaled lightness of 4x4 pixels, b* its negative; the state counts a* up.
fn small() -> ModelProto {
    let weights: Vec<u8> = [1.0_f32 / 16.0, -1.0 / 16.0].iter().flat_map(|w| [*w; 16]).flat_map(f32::to_le_bytes).collect();
    let weight = TensorProto { name: "w".into(), dims: vec![2, 1, 4, 4], data_type: 1, raw_data: weights, ..TensorProto::default() };
    let conv = node("Conv", &["lightness", "w"], "ab", vec![ints("strides", &[4, 4]), ints("kernel_shape", &[4, 4])]);
    let graph = GraphProto {
        name: "small".into(),
        node: vec![conv, node("Add", &["state_0_in", "ab"], "state_0_out", vec![])],
        initializer: vec![weight],
        input: vec![value("lightness", &[1, 1, 8, 16]), value("state_0_in", &[1, 2, 2, 4])],
        output: vec![value("ab", &[1, 2, 2, 4]), value("state_0_out", &[1, 2, 2, 4])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
    let mut model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
    write_card(&mut model, &card());
    model
}

fn card() -> Card {
    Card {
        name: "small".into(),
        output: Output::Ab,
        temperature: 1.0,
        saturation: 1.0,
        color: contract::COLOR_CONSTANTS.into(),
        training: "made by hand".into(),
        license: "MIT".into(),
        calibration: None,
        float_parent_sha256: None,
    }
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn a_model_made_by_hand_computes_what_it_says_and_carries_its_state() {
    let mut model = Colorizer::from_bytes("small", &small().encode_to_vec()).unwrap();
    assert_eq!((model.contract().width, model.contract().height, model.contract().states.len()), (16, 8, 1));
    let white = Plane::filled(16, 8, 100.0);
    let chroma = model.step(&white).unwrap();
    // (100 - 50) / 100 is the scaled lightness, and 110 the scale of ab.
    assert!(chroma.a.data.iter().all(|a| (a - 55.0).abs() < 1e-4) && chroma.b.data.iter().all(|b| (b + 55.0).abs() < 1e-4));
    model.step(&white).unwrap();
    assert!((model.states()[0][0] - 1.0).abs() < 1e-6, "two frames of one half");
    model.reset();
    assert_eq!(model.states()[0][0], 0.0);
    let wrong = model.step(&Plane::filled(8, 8, 0.0)).unwrap_err();
    assert!(matches!(wrong, ModelError::Shape { .. }), "{wrong}");
}

#[test]
fn pictures_and_chroma_beside_a_luma_become_the_same_colors_as_in_the_color_module() {
    let decoded = |output: Output, name: &str, color: [u8; 3]| {
        let raw: Vec<f32> = match output {
            Output::Rgb => color.iter().map(|&v| f32::from(v) / 255.0).collect(),
            // U and V as Dahl's residual encoder has them.
            _ => [[-0.169, -0.331, 0.499], [0.499, -0.418, -0.0813]]
                .map(|row: [f32; 3]| row.iter().zip(color).map(|(share, v)| share * f32::from(v) / 255.0).sum::<f32>() + 0.5)
                .to_vec(),
        };
        let raw: Vec<f32> = raw.iter().flat_map(|v| [*v; 8]).collect();
        let mut model = small();
        let channels = raw.len() as i64 / 8;
        let weights = TensorProto {
            name: "w".into(),
            dims: vec![channels, 1, 4, 4],
            data_type: 1,
            raw_data: vec![0; 64 * channels as usize],
            ..TensorProto::default()
        };
        let graph = graph(&mut model);
        graph.initializer = vec![weights];
        graph.node.truncate(1);
        graph.node[0].output = vec![name.into()];
        graph.input.truncate(1);
        graph.output = vec![value(name, &[1, channels, 2, 4])];
        write_card(&mut model, &Card { output, ..card() });
        let mut model = Colorizer::from_bytes("small", &model.encode_to_vec()).unwrap();
        let luma = color::luma(color).round() as u8;
        model.step(&Plane::filled(16, 8, color::lightness(LumaRange::Full, luma))).unwrap();
        let mut chroma = Chroma::default();
        model.decode(&raw, &mut chroma);
        assert!(chroma.a.data.iter().all(|a| *a == chroma.a.data[0]) && chroma.b.data.iter().all(|b| *b == chroma.b.data[0]));
        [chroma.a.data[0], chroma.b.data[0]]
    };
    for color in [[200, 60, 40], [30, 90, 160], [120, 120, 120], [90, 140, 60]] {
        let [_, a, b] = color::srgb_to_lab(color);
        let [rgb_a, rgb_b] = decoded(Output::Rgb, "rgb", color);
        assert!((rgb_a - a).abs() < 0.01 && (rgb_b - b).abs() < 0.01, "{color:?}: {rgb_a} {rgb_b}, not {a} {b}");
        // The shares have three digits, and the luma is rounded.
        let [uv_a, uv_b] = decoded(Output::Uv, "uv", color);
        assert!((uv_a - a).abs() < 1.0 && (uv_b - b).abs() < 1.0, "{color:?}: {uv_a} {uv_b}, not {a} {b}");
    }
}

#[test]
fn what_breaks_the_contract_is_refused_with_the_reason() {
    struct Case {
        says: &'static str,
        breaks: fn(&mut ModelProto),
    }
    let cases = [
        Case { says: "no metadata", breaks: |m| m.metadata_props.clear() },
        Case { says: "contract version \"7\"", breaks: |m| m.metadata_props[0].value = "7".into() },
        Case { says: "autochrome.card", breaks: |m| m.metadata_props[1].value = "{}".into() },
        Case { says: "no graph", breaks: |m| m.graph = None },
        Case { says: "\"lightness\"", breaks: |m| graph(m).input[0].name = "grey".into() },
        Case { says: "channels", breaks: |m| graph(m).input[0] = value("lightness", &[1, 3, 8, 16]) },
        Case { says: "fixed", breaks: |m| graph(m).input[0] = value("lightness", &[1, 1, 0, 16]) },
        Case { says: "fixed", breaks: |m| graph(m).input[0] = value("lightness", &[1, 1, 1 << 40, 16]) },
        Case { says: "comes out as", breaks: |m| graph(m).output[1] = value("state_0_out", &[1, 3, 2, 4]) },
        Case { says: "inputs", breaks: |m| graph(m).input.push(value("more", &[1, 1, 1, 1])) },
        Case { says: "\"Loop\"", breaks: |m| graph(m).node[1].op_type = "Loop".into() },
        Case { says: "strides", breaks: |m| graph(m).node[0].attribute[0].ints = vec![0, 4] },
        Case { says: "another file", breaks: |m| graph(m).initializer[0].data_location = Some(1) },
        Case { says: "elements", breaks: |m| graph(m).initializer[0].dims = vec![1 << 20, 1 << 20] },
        Case { says: "finite", breaks: |m| graph(m).initializer[0].raw_data = f32::NAN.to_le_bytes().repeat(32) },
        Case { says: "no node makes", breaks: |m| graph(m).node.truncate(1) },
        Case { says: "nothing makes", breaks: |m| graph(m).node[1].input[0] = "elsewhere".into() },
        Case { says: "nodes", breaks: |m| graph(m).node = vec![node("Relu", &["lightness"], "x", vec![]); 2000] },
        Case { says: "temperature", breaks: |m| write_card(m, &Card { temperature: 0.0, ..card() }) },
        Case {
            says: "2 channels",
            breaks: |m| {
                graph(m).output[0].name = "color_logits".into();
                graph(m).node[0].output[0] = "color_logits".into();
                graph(m).node[1].input[1] = "color_logits".into();
                write_card(m, &Card { output: Output::ColorLogits { centers: vec![[0.0, 0.0]; 3] }, ..card() });
            },
        },
    ];
    for Case { says, breaks } in cases {
        let mut model = small();
        breaks(&mut model);
        let error = Colorizer::from_bytes("broken.onnx", &model.encode_to_vec()).expect_err(says).to_string();
        assert!(error.starts_with("broken.onnx: ") && error.contains(says) && !error.contains('\n'), "{says:?} is not in {error:?}");
    }
}

#[test]
fn no_truncation_and_no_flipped_byte_panics() {
    let bytes = small().encode_to_vec();
    for length in 0..bytes.len() {
        assert!(Colorizer::from_bytes("cut", &bytes[..length]).is_err(), "{length} bytes of {} are accepted", bytes.len());
    }
    let (mut refused, mut accepted) = (0, 0);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        match Colorizer::from_bytes("flipped", &bytes) {
            // What still loads must also step without a panic.
            Ok(mut model) => {
                accepted += 1;
                let (width, height) = (model.contract().width, model.contract().height);
                let _ = model.step(&Plane::filled(width, height, 50.0));
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, ModelError::Refused { .. } | ModelError::Graph { .. }), "{error}");
            }
        }
    }
    assert!(refused > accepted, "{refused} refused, {accepted} accepted");
}

#[test]
fn a_text_file_is_not_a_model() {
    let error = Colorizer::from_bytes("notes.txt", b"hello, this is no model at all").unwrap_err();
    assert!(matches!(error, ModelError::Refused { cause: ContractError::Unreadable(_) | ContractError::Broken(_), .. }), "{error}");
    let error = Colorizer::load(std::path::Path::new("does/not/exist.onnx")).unwrap_err().to_string();
    assert!(error.contains("does/not/exist.onnx"), "{error}");
}

/// Tests of whole programs use this model as a file, where a real one would only be slow.
#[test]
fn the_file_that_other_tests_use_is_the_small_model() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/small.onnx");
    let bytes = small().encode_to_vec();
    if std::env::var_os("AUTOCHROME_WRITE_TEST_DATA").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == bytes, "run this test once with AUTOCHROME_WRITE_TEST_DATA=1");
}
