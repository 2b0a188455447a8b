//! Bundles from strangers: they are refused, and cost neither the daemon nor its model in use anything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use edge_testing::daemon::Daemon;
use edge_testing::{Place, copy_of_model, forge, jpeg, model, skip, until};
use prost::Message;
use rustix::process::Signal;
use serde_json::{Value, json};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, attribute_proto::AttributeType,
    tensor_proto::DataType,
};

const HEAD: &str = "quality_head.onnx";
const TOKENIZER: &str = "tokenizer.json";
/// More numbers than the memory of a trial holds.
const HUGE: i64 = 1 << 31;

fn forge_json(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    forge(dir, name, |bytes| {
        let mut value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = serde_json::to_vec(&value).unwrap();
    });
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: format!("{op} {output}"),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: AttributeType::Ints.into(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: value, r#type: AttributeType::Int.into(), ..AttributeProto::default() }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64.into(),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// Puts a graph in place of the head's. It has the head's inputs and output, these nodes and these whole numbers.
fn forge_head(dir: &Path, nodes: Vec<NodeProto>, constants: Vec<TensorProto>) {
    forge(dir, HEAD, |bytes| {
        let mut model = ModelProto::decode(&bytes[..]).unwrap();
        let graph: &mut GraphProto = model.graph.as_mut().unwrap();
        (graph.node, graph.initializer) = (nodes, constants);
        *bytes = model.encode_to_vec();
    });
}

/// The mean of each row of a matrix becomes the score.
fn score(of: &str) -> NodeProto {
    node("ReduceMean", &[of], "score", vec![ints("axes", &[1]), int("keepdims", 0)])
}

/// Puts a head in place that applies an operator to the whole numbers 1 and 0.
fn forge_whole_numbers(dir: &Path, op: &str) {
    let nodes = vec![
        node(op, &["one", "zero"], "none", vec![]),
        node("Cast", &["none"], "number", vec![int("to", DataType::Float as i64)]),
        node("Add", &["image_embedding", "number"], "sum", vec![]),
        score("sum"),
    ];
    forge_head(dir, nodes, vec![integers("one", &[1]), integers("zero", &[0])]);
}

type Attack = (&'static str, fn(&Path));

/// Bundles that once ended the daemon or held it for ever. Every digest is right.
const ATTACKS: [Attack; 11] = [
    ("a graph without nodes and outputs", |dir| {
        forge(dir, HEAD, |bytes| {
            let mut model = ModelProto::decode(&bytes[..]).unwrap();
            model.graph = Some(GraphProto::default());
            *bytes = model.encode_to_vec();
        });
    }),
    ("ConstantOfShape", |dir| {
        let nodes = vec![
            node("ConstantOfShape", &["shape"], "zeros", vec![]),
            node("Cast", &["zeros"], "huge", vec![int("to", DataType::Float as i64)]),
            node("ReduceMean", &["huge"], "mean", vec![ints("axes", &[0]), int("keepdims", 1)]),
            node("Add", &["image_embedding", "mean"], "sum", vec![]),
            score("sum"),
        ];
        forge_head(dir, nodes, vec![integers("shape", &[HUGE, 1])]);
    }),
    ("Expand", |dir| {
        let nodes = vec![
            node("Unsqueeze", &["image_embedding", "axis"], "long", vec![]),
            node("Expand", &["long", "shape"], "huge", vec![]),
            node("ReduceMean", &["huge"], "mean", vec![ints("axes", &[2]), int("keepdims", 0)]),
            score("mean"),
        ];
        forge_head(dir, nodes, vec![integers("axis", &[2]), integers("shape", &[1, 1, HUGE])]);
    }),
    ("Tile", |dir| {
        let nodes = vec![node("Tile", &["image_embedding", "repeats"], "huge", vec![]), score("huge")];
        forge_head(dir, nodes, vec![integers("repeats", &[1, HUGE])]);
    }),
    ("a stride of zero", |dir| {
        let nodes = vec![
            node("Unsqueeze", &["image_embedding", "axis"], "signal", vec![]),
            node("MaxPool", &["signal"], "pooled", vec![ints("kernel_shape", &[1]), ints("strides", &[0])]),
            node("Squeeze", &["pooled", "axis"], "flat", vec![]),
            score("flat"),
        ];
        forge_head(dir, nodes, vec![integers("axis", &[1])]);
    }),
    ("a division by zero", |dir| forge_whole_numbers(dir, "Div")),
    ("a remainder of a division by zero", |dir| forge_whole_numbers(dir, "Mod")),
    ("twenty thousand nodes", |dir| {
        let name = |i: usize| if i == 0 { "image_embedding".to_owned() } else { format!("x{i}") };
        let mut nodes: Vec<NodeProto> =
            (0..20_000).map(|i| node("Add", &[&name(i), &name(i)], &name(i + 1), vec![])).collect();
        nodes.push(score(&name(20_000)));
        forge_head(dir, nodes, vec![]);
    }),
    ("a tokenizer without its special tokens", |dir| {
        forge_json(dir, TOKENIZER, |tokenizer| tokenizer["post_processor"]["special_tokens"] = json!({}));
    }),
    ("a normaliser that makes each letter a thousand, over and over", |dir| {
        let step = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "a".repeat(1000) });
        forge_json(dir, TOKENIZER, |tokenizer| {
            tokenizer["normalizer"] = json!({ "type": "Sequence", "normalizers": vec![step; 6] });
        });
    }),
    ("a named pipe in place of the tokenizer", |dir| {
        std::fs::remove_file(dir.join(TOKENIZER)).unwrap();
        assert!(Command::new("mkfifo").arg(dir.join(TOKENIZER)).status().unwrap().success());
    }),
];

fn attacked(place: &Place, attack: fn(&Path)) -> PathBuf {
    let parent = place.path("attack");
    let _ = std::fs::remove_dir_all(&parent);
    std::fs::create_dir(&parent).unwrap();
    let dir = copy_of_model(&parent);
    attack(&dir);
    dir
}

#[test]
fn a_daemon_ends_with_78_when_its_bundle_is_hostile() {
    let place = Place::new();
    for (name, attack) in ATTACKS {
        let dir = attacked(&place, attack);
        let started = Instant::now();
        let mut daemon = place.start_on(&dir, &[place.photos().to_str().unwrap()], |_| {});
        let give_up = started + Duration::from_secs(180);
        while daemon.is_running() {
            assert!(Instant::now() < give_up, "{name}: the daemon still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
        let (status, log) = daemon.end();
        println!("{name}: {:.1} s: {}", started.elapsed().as_secs_f64(), log.trim());
        assert_eq!(status.code(), Some(78), "{name}: {log}");
        assert!(log.starts_with("edge-scorer: ") && log.contains("bundle"), "{name}: {log}");
    }
}

/// A daemon that watches a directory with a copy of the shipped bundle.
fn with_bundle(place: &Place) -> (Daemon, PathBuf) {
    let dir = copy_of_model(&place.path("."));
    let config = place.config("[watch]\nsettle_ms = 20\nrescan_interval_s = 1\n[store]\ncommit_interval_ms = 50\n");
    let photos = place.photos();
    let arguments = ["--config", config.to_str().unwrap(), photos.to_str().unwrap()];
    let daemon = place.start_on(&dir, &arguments, |_| {});
    daemon.wait_for("ready");
    (daemon, dir)
}

#[test]
fn a_hostile_bundle_that_replaces_the_one_in_use_is_refused_and_the_old_one_keeps_working() {
    let place = Place::new();
    let (mut daemon, dir) = with_bundle(&place);
    for (i, at) in [1, 5, 8].into_iter().enumerate() {
        let (name, attack) = ATTACKS[at];
        attack(&dir);
        daemon.wait_for_times("reload refused; the old configuration and model stay in use", i + 1);
        place.write(format!("after-{i}.jpg"), &jpeg(i as u32));
        place.wait_for_rows("SELECT count(*) FROM image", &[&(i + 1).to_string()]);
        assert!(daemon.is_running(), "{name}");
        edge_testing::copy_dir(&model(), &dir);
        daemon.wait_for_times("the new bundle contains the model in use", i + 1);
    }
    daemon.stop();
    place.assert_sound();
}

#[test]
fn a_stop_during_the_trial_of_a_bundle_ends_the_daemon() {
    let place = Place::new();
    // The trial's process is stopped, so that the trial would last until its time limit.
    let daemon = place.start_on(&model(), &[place.photos().to_str().unwrap()], |_| {});
    let trial = until("the process of the trial", || daemon.decoders().first().copied());
    if rustix::process::kill_process(trial, Signal::STOP).is_err() {
        return skip(
            "a_stop_during_the_trial_of_a_bundle_ends_the_daemon",
            "the trial had ended before it could be stopped",
        );
    }
    std::thread::sleep(Duration::from_millis(200));
    let asked = Instant::now();
    daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    until("the end of the trial's process", || {
        (!Path::new(&format!("/proc/{}", trial.as_raw_nonzero())).exists()).then_some(())
    });
}
