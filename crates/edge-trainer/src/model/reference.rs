//! For tests: reads outputs of other frameworks, and runs graphs on the scorer's own backend.

use std::path::Path;

use safetensors::tensor::SafeTensors;

use edge_model::backend::choice::first_accepted;
use edge_model::backend::{BackendOptions, BatchSize, ChosenBackend, DeviceChoice, GraphFile, Input};

/// Inputs, and the outputs that another framework computed for them.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn read(dir: &Path) -> Self {
        Self(std::fs::read(dir.join("reference.safetensors")).unwrap())
    }

    pub fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (view.shape().to_vec(), values.collect())
    }

    pub fn ids(&self) -> (Vec<usize>, Vec<i64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor("input_ids").unwrap();
        let values = view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        (view.shape().to_vec(), values.collect())
    }

    /// The largest difference between `found` and the output `name`, as a share of that output's largest value.
    fn difference(&self, name: &str, found: &[f32]) -> f32 {
        let (_, expected) = self.floats(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        expected.iter().zip(found).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    #[track_caller]
    pub fn expect(&self, name: &str, found: &[f32], allowed: f32) {
        let difference = self.difference(name, found);
        eprintln!("{name}: differs from the reference by at most {difference:.1e} of the reference's largest value");
        assert!(
            difference <= allowed,
            "{name} differs from the reference by {difference:e} of the reference's largest value, \
             more than {allowed:e}"
        );
    }
}

/// Runs a graph in tract and returns all its outputs.
pub fn run(onnx: &[u8], inputs: Vec<Input>) -> Vec<Vec<f32>> {
    let file = GraphFile { name: "test", digest: "" };
    let load = |chosen: ChosenBackend| chosen.backend.load(file, onnx.to_vec(), BatchSize::Any);
    let graph = first_accepted(DeviceChoice::Cpu, &BackendOptions::default(), load).unwrap();
    graph.run(inputs).unwrap().into_iter().map(|a| a.into_iter().collect()).collect()
}
