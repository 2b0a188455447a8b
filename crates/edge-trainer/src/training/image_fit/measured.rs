//! Measures images with the scorer's own backend, which is many times as fast as the networks of the training on a processor.

use edge_model::backend::choice::on_cpu;
use edge_model::backend::{BackendError, BackendOptions, BatchSize, Graph, GraphFile, Input};
use edge_model::image_input::InputRule;
use nalgebra::DMatrix;
use ndarray::{ArrayD, Axis};

use super::images::on_images;
use crate::dataset::Example;
use crate::device::Host;
use crate::message::Listener;
use crate::model::efficientnet::EfficientNet;
use crate::model::kernel_encoder::{Measurements, measurements};
use crate::model::measure::Codebook;
use crate::onnx::{Dim, GraphBuilder, Value};
use crate::training::error::LearnError;

/// The measurements of N images.
pub(super) struct MeasuredImages {
    /// The blocks of measurements, `[N, F]` each.
    pub(super) blocks: Vec<DMatrix<f64>>,
    /// Logits of the network's classes, `[N, K]`; `None` without a network.
    pub(super) logits: Option<DMatrix<f64>>,
}

/// Measures all images.
pub(super) fn measure_all(
    images: &[&Example],
    rule: &InputRule,
    codebook: &Codebook,
    network: Option<&EfficientNet<Host>>,
    listener: &mut dyn Listener,
) -> Result<MeasuredImages, LearnError> {
    let (graph, has_logits) = graph_of(rule, codebook, network)?;
    let rows = on_images("measuring images", images, rule, |pixels| run(graph.as_ref(), pixels), listener)?;
    let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
    let table = |output: usize| {
        let columns = rows.first().map_or(0, |row| row[output].len());
        DMatrix::from_fn(rows.len(), columns, |i, j| f64::from(rows[i][output][j]))
    };
    let outputs = rows.first().map_or(0, Vec::len);
    let blocks = outputs - usize::from(has_logits && outputs > 0);
    Ok(MeasuredImages {
        blocks: (0..blocks).map(table).collect(),
        logits: (blocks < outputs).then(|| table(outputs - 1)),
    })
}

/// The graph from pixels to the blocks of measurements and, with a network, its logits.
fn graph_of(
    rule: &InputRule,
    codebook: &Codebook,
    network: Option<&EfficientNet<Host>>,
) -> Result<(Box<dyn Graph>, bool), LearnError> {
    let (width, height) = rule.input_size();
    let mut g = GraphBuilder::new("measurements");
    let dims = [Dim::Batch, Dim::Fixed(3), Dim::Fixed(height as usize), Dim::Fixed(width as usize)];
    let input = g.input_f32("pixel_values", &dims);
    let Measurements { blocks, logits } = measurements(&mut g, input, width as usize, codebook, network);
    let has_logits = logits.is_some();
    let outputs: Vec<Value> = blocks.into_iter().chain(logits).collect();
    for (i, output) in outputs.iter().enumerate() {
        g.output_of_any_shape(&format!("output_{i}"), output);
    }
    let onnx = g.finish()?;
    let backend = on_cpu(String::new(), &BackendOptions::default()).backend;
    let graph = backend.load(GraphFile { name: "measurements", digest: "" }, onnx, BatchSize::Fixed(1))?;
    Ok((graph, has_logits))
}

fn run(graph: &dyn Graph, pixels: ndarray::Array3<f32>) -> Result<Vec<Vec<f32>>, BackendError> {
    let batch: ArrayD<f32> = pixels.insert_axis(Axis(0)).into_dyn();
    Ok(graph.run(vec![Input::F32(batch)])?.into_iter().map(|output| output.into_iter().collect()).collect())
}
