//! `docs/run-configuration.md` says what every key of a run's configuration means. It is made of the sources' own comments, defaults and choices.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fmt::Write as _;
use std::path::Path;

use autochrome_trainer::config::RunConfig;
use toml::{Table, Value};

/// A table of a configuration file.
struct Section {
    /// Its name; nothing for the keys at the top.
    name: &'static str,
    /// Where its keys are, beside `src`, and in which struct.
    source: &'static str,
    of: &'static str,
    /// What a file must say to have this table; defaults are those of such a file.
    least: &'static str,
}

const fn section(name: &'static str, source: &'static str, of: &'static str, least: &'static str) -> Section {
    Section { name, source, of, least }
}

const SECTIONS: [Section; 23] = [
    section("", "config.rs", "RunConfig", ""),
    section("schedule", "schedule.rs", "ScheduleConfig", ""),
    section("loss", "losses/mod.rs", "LossConfig", ""),
    section("loss.regression", "losses/regression.rs", "RegressionConfig", "[loss.regression]\ndistance = \"mse\""),
    section("loss.feature", "losses/features.rs", "FeatureConfig", "[loss.feature]"),
    section("loss.warp", "losses/warp.rs", "WarpConfig", "[loss.warp]\nweight = 1.0"),
    section("loss.agreement", "losses/agreement.rs", "AgreementConfig", "[loss.agreement]"),
    section("adversarial", "losses/adversarial.rs", "AdversarialConfig", "[adversarial]"),
    section("quantization", "train/quantization.rs", "QuantizationConfig", "[quantization]\nstart_share = 0.9"),
    section("data", "data/lane_config.rs", "LaneConfig", ""),
    section("data.motion", "data/still_camera.rs", "MotionConfig", ""),
    section("data.degrade", "data/degrade.rs", "DegradeConfig", ""),
    section("net", "nets/recurrent_unet.rs", "RecurrentUNetConfig", "[net]\nkind = \"recurrent-unet\""),
    section("net", "nets/lite0_unet.rs", "Lite0UNetConfig", "[net]\nkind = \"lite0-unet\""),
    section("net", "nets/plain_unet.rs", "PlainUNetConfig", "[net]\nkind = \"plain-unet\""),
    section("net", "nets/feature_unet.rs", "FeatureUNetConfig", "[net]\nkind = \"feature-unet\""),
    section("net", "nets/memory_unet.rs", "MemoryUNetConfig", "[net]\nkind = \"memory-unet\""),
    section("net", "nets/temporal_conv_unet.rs", "TemporalConvUNetConfig", "[net]\nkind = \"temporal-conv-unet\""),
    section("net", "nets/resnet_unet.rs", "ResnetUNetConfig", "[net]\nkind = \"resnet-unet\""),
    section("net", "nets/pix2pix.rs", "Pix2pixConfig", "[net]\nkind = \"pix2pix\""),
    section("net", "nets/residual_encoder.rs", "ResidualEncoderConfig", "[net]\nkind = \"residual-encoder\""),
    section("net", "nets/zhang.rs", "ZhangConfig", "[net]\nkind = \"zhang\""),
    section("net", "nets/fully_connected.rs", "FullyConnectedConfig", "[net]\nkind = \"fully-connected\""),
];

/// The public fields of a struct and what their comments say, in their order.
fn fields(section: &Section) -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(section.source);
    let source = std::fs::read_to_string(&file).unwrap();
    let begin = format!("pub struct {} {{\n", section.of);
    let body =
        source.split_once(&begin).unwrap_or_else(|| panic!("{} has no {}", file.display(), section.of)).1.split_once("\n}").unwrap().0;
    let (mut found, mut said) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            said.push(words.trim().to_owned());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
            found.push((name.to_owned(), plain(&std::mem::take(&mut said).join(" "))));
        }
    }
    found
}

/// A comment without its links into the sources.
fn plain(comment: &str) -> String {
    let mut text = comment.replace("\\[", "(").replace("\\]", ")").replace("[`", "`").replace("`]", "`").replace('|', "/");
    while let Some((before, rest)) = text.split_once("`(") {
        let behind = rest.split_once(')').map_or("", |(_, behind)| behind);
        text = format!("{before}`{behind}");
    }
    text
}

/// The value at a path such as `loss.warp.weight`.
fn at<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(config, |value, key| value.get(key))
}

/// What a key of few choices may be, by what a wrong one is told.
fn choices(section: &Section, path: &str) -> Option<String> {
    let mut file: Table = toml::from_str(section.least).unwrap();
    let (folders, key) = path.rsplit_once('.').unwrap_or(("", path));
    let table = folders
        .split('.')
        .filter(|name| !name.is_empty())
        .fold(&mut file, |table, name| table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap());
    table.insert(key.into(), "?".into());
    let error = toml::from_str::<RunConfig>(&file.to_string()).err()?;
    let said = error.message().split_once("unknown variant `?`, expected ")?.1.trim_start_matches("one of ").to_owned();
    Some(said.replace(" or ", ", "))
}

fn tables() -> String {
    let mut text = String::new();
    for section in &SECTIONS {
        let config: RunConfig = toml::from_str(section.least).unwrap();
        let whole = Value::try_from(&config).unwrap();
        let title = match (section.name, section.least.split_once("kind = ")) {
            ("", _) => "At the top".to_owned(),
            (name, Some((_, kind))) => format!("`[{name}]` with `kind = {kind}`"),
            (name, None) => format!("`[{name}]`"),
        };
        write!(text, "## {title}\n\n| key | default | what it is |\n| --- | --- | --- |\n").unwrap();
        for (key, said) in fields(section) {
            let path = if section.name.is_empty() { key.clone() } else { format!("{}.{key}", section.name) };
            // Tables have a section of their own, but for what a user names the keys of.
            let value = at(&whole, &path);
            if SECTIONS.iter().any(|other| other.name == path) {
                continue;
            }
            let given = section.least.contains(&format!("\n{key} = "));
            let default = match value {
                _ if given => "must be given".into(),
                None => "-".into(),
                Some(Value::Float(number)) => format!("{}", *number as f32),
                Some(Value::Table(table)) if table.is_empty() => "-".into(),
                Some(value) => format!("`{value}`"),
            };
            let choices = choices(section, &path).map_or_else(String::new, |choices| format!(" One of {choices}."));
            writeln!(text, "| `{key}` | {default} | {said}{choices} |").unwrap();
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[test]
fn the_page_has_every_key_with_its_default_and_meaning() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/run-configuration.md")).unwrap();
    let found =
        page.split_once("<!-- keys -->\n").and_then(|(_, rest)| rest.split_once("\n<!-- end of keys -->")).map(|(found, _)| found.trim());
    assert!(found == Some(&tables()), "docs/run-configuration.md, between the two marks, has to be:\n{}", tables());
}

#[test]
fn no_table_of_a_configuration_is_left_out() {
    // Every optional table asked for, as far as one network goes.
    let all: String = SECTIONS.iter().filter(|section| section.name != "net").map(|section| format!("{}\n", section.least)).collect();
    let whole = Value::try_from(toml::from_str::<RunConfig>(&all).unwrap()).unwrap();
    let mut open: Vec<(String, &Value)> = vec![(String::new(), &whole)];
    while let Some((name, value)) = open.pop() {
        let known = SECTIONS.iter().any(|section| section.name == name);
        // What has keys of the user's own, and what has a sentence in its parent's.
        assert!(known || ["data.source_weights", "adversarial.critic"].contains(&name.as_str()), "[{name}] has no section");
        let inner = value.as_table().unwrap().iter().filter(|(_, value)| value.is_table());
        open.extend(inner.map(|(key, value)| (if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value)));
    }
    let kinds = choices(&SECTIONS[12], "net.kind").unwrap();
    for kind in kinds.split(", ").map(|kind| kind.trim_matches('`')) {
        let known = SECTIONS.iter().any(|section| section.least.contains(&format!("kind = \"{kind}\"")));
        assert!(known, "[net] with kind = {kind:?} has no section");
    }
}
