//! Prepares, runs and profiles ONNX graphs with a runtime of tract. Several backends share this module.

use std::collections::HashMap;
use std::time::Instant;

use ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ToDim;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::plan::eval;

use super::interface::{BatchSize, Input, OperatorTime};
use super::precision::Precision;

/// The symbol of the batch dimension in a bundle's graphs.
const BATCH_SYMBOL: &str = "N";

/// Prepares an ONNX graph for a runtime. The error is tract's message.
pub(super) fn prepare(
    runtime: &dyn Runtime,
    onnx: &[u8],
    batch: BatchSize,
    precision: Precision,
) -> Result<Box<dyn Runnable>, String> {
    typed(onnx, batch, precision).and_then(|model| runtime.prepare(model)).map_err(|e| format!("{e:#}"))
}

fn typed(mut onnx: &[u8], batch: BatchSize, precision: Precision) -> TractResult<TypedModel> {
    let model = tract_onnx::onnx().model_for_read(&mut onnx)?.into_typed()?;
    let mut model = for_batch(model, batch)?.into_decluttered()?;
    if precision == Precision::F16 {
        to_f16(&mut model)?;
    }
    Ok(model)
}

/// Returns the graph with its batch dimension set to the batch size; unchanged for [`BatchSize::Any`].
pub(super) fn for_batch(model: TypedModel, batch: BatchSize) -> TractResult<TypedModel> {
    match batch {
        BatchSize::Any => Ok(model),
        BatchSize::Fixed(count) => {
            let symbol = model.symbols.sym(BATCH_SYMBOL);
            model.set_symbols(&HashMap::from([(symbol, count.to_dim())]))
        }
    }
}

/// Fewest weights of a product that is computed in f16. Smaller products would not become faster.
const MIN_F16_WEIGHTS: usize = 1 << 16;

/// Computes products with many weights in f16. These products take most of the time and memory. The other operators stay in f32, because
/// sums of squares, as in norms and statistics, would overflow in f16 or lose too many digits.
fn to_f16(model: &mut TypedModel) -> TractResult<()> {
    let products: Vec<usize> = model.nodes().iter().map(|node| node.id).filter(|id| is_worth_f16(model, *id)).collect();
    for id in products {
        let node = model.node(id);
        let mut patch = TypedModelPatch::default();
        let mut inputs = TVec::new();
        for (index, input) in node.inputs.iter().enumerate() {
            let input = patch.tap_model(model, *input)?;
            let name = format!("{}.f16-{index}", node.name);
            inputs.push(patch.wire_node(name, cast(f16::datum_type()), &[input])?[0]);
        }
        let op: Box<dyn TypedOp> = match node.op_as::<EinSum>() {
            Some(product) => Box::new(EinSum { operating_dt: f16::datum_type(), ..product.clone() }),
            None => node.op.clone(),
        };
        let product = patch.wire_node(&node.name, op, &inputs)?;
        let exact = patch.wire_node(format!("{}.f32", node.name), cast(f32::datum_type()), &product)?;
        patch.shunt_outside(model, id.into(), exact[0])?;
        patch.apply(model)?;
    }
    *model = std::mem::take(model).into_decluttered()?;
    Ok(())
}

fn is_worth_f16(model: &TypedModel, id: usize) -> bool {
    let node = model.node(id);
    let facts = model.node_input_facts(id).unwrap_or_default();
    let weights = facts.iter().filter_map(|fact| fact.konst.as_ref()).map(|weights| weights.len()).max();
    (node.op_is::<EinSum>() || node.op_is::<Conv>()) && weights.is_some_and(|weights| weights >= MIN_F16_WEIGHTS)
}

/// Runs a graph and returns its outputs. The error is tract's message.
pub(super) fn run(runnable: &dyn Runnable, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, String> {
    let outputs = values(runnable, inputs).and_then(|values| runnable.run(values)).map_err(|e| format!("{e:#}"))?;
    if outputs.is_empty() {
        return Err("the graph has no output".to_owned());
    }
    let arrays = outputs.into_iter().map(|output| {
        let output = output.into_tensor();
        output.cast_to_dt(f32::datum_type())?.into_owned().into_plain_array::<f32>()
    });
    arrays.collect::<TractResult<_>>().map_err(|e| format!("{e:#}"))
}

fn values(runnable: &dyn Runnable, inputs: Vec<Input>) -> TractResult<TVec<TValue>> {
    let value = |(index, input)| {
        let tensor = match input {
            Input::F32(array) => Tensor::from(array),
            Input::I64(array) => Tensor::from(array),
        };
        let wanted = runnable.input_fact(index)?.datum_type;
        Ok(tensor.cast_to_dt(wanted)?.into_owned().into_tvalue())
    };
    inputs.into_iter().enumerate().map(value).collect()
}

/// Runs a graph and returns the time of each operator. The error is tract's message.
pub(super) fn profile(runnable: &dyn Runnable, inputs: Vec<Input>) -> Result<Vec<OperatorTime>, String> {
    let mut times = Vec::new();
    let work = || {
        let Some(plan) = runnable.typed_plan() else { return Ok(()) };
        let values = values(runnable, inputs)?;
        plan.spawn()?.run_plan_with_eval(values, |context, state, node, inputs| {
            let mut shapes: Vec<_> = inputs.iter().map(|input| format!("{:?}", input.shape())).collect();
            let started = Instant::now();
            let outputs = eval(context, state, node, inputs);
            let time = started.elapsed();
            shapes.extend(outputs.iter().flatten().map(|output| format!("-> {:?}", output.shape())));
            times.push(OperatorTime { operator: node.op.name().into_owned(), shapes: shapes.join(" "), time });
            outputs
        })?;
        Ok::<_, TractError>(())
    };
    work().map_err(|e| format!("{e:#}"))?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;
    use std::path::Path;

    use tract_onnx::tract_core::runtime::DefaultRuntime;

    use super::*;
    use crate::bundle::Bundle;

    #[test]
    fn f16_computes_in_f16_and_answers_almost_the_same() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/small");
        let onnx = std::fs::read(dir.join("image_encoder.onnx")).unwrap();
        let types = |precision| {
            let model = typed(&onnx, BatchSize::Fixed(1), precision).unwrap();
            let products = model.nodes().iter().map(|node| node.id).filter(|id| is_worth_f16(&model, *id));
            let inputs = products.flat_map(|id| model.node_input_facts(id).unwrap());
            inputs.map(|fact| fact.datum_type).collect::<std::collections::HashSet<_>>()
        };
        assert_eq!(types(Precision::F32), [f32::datum_type()].into());
        assert_eq!(types(Precision::F16), [f16::datum_type()].into());
        let (width, height) = Bundle::open(&dir).unwrap().manifest().image_input.input_size();
        let golden = image::open(dir.join("golden_1.png")).unwrap().into_rgb8();
        let golden = image::imageops::resize(&golden, width, height, image::imageops::FilterType::CatmullRom);
        let value = |(_, c, y, x): (_, usize, usize, usize)| f32::from(golden[(x as u32, y as u32)][c]) / 63.75 - 2.0;
        let pixels = Array4::from_shape_fn((1, 3, height as usize, width as usize), value);
        let answer = |precision| {
            let graph = prepare(&DefaultRuntime, &onnx, BatchSize::Fixed(1), precision).unwrap();
            run(&*graph, vec![Input::F32(pixels.clone().into_dyn())]).unwrap().remove(0)
        };
        let (exact, half) = (answer(Precision::F32), answer(Precision::F16));
        let largest = exact.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        let off = exact.iter().zip(&half).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs())) / largest;
        eprintln!("largest difference {off:.1e} of the largest value");
        assert!(off > 1e-6 && off < 1e-2, "{off}");
    }
}
