//! What all of tract's runtimes share: preparing an ONNX graph and running it.

use std::collections::HashMap;

use ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::floats::FloatPrecisionTranslator;
use tract_onnx::tract_core::internal::ToDim;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::transform::ModelTransform;

use super::{Batch, Input, Precision};

/// The symbol of the batch dimension in a bundle's graphs.
const BATCH_SYMBOL: &str = "N";

/// Lays an ONNX graph out for a runtime. The error is what tract says.
pub(super) fn prepare(
    runtime: &dyn Runtime,
    onnx: &[u8],
    batch: Batch,
    precision: Precision,
) -> Result<Box<dyn Runnable>, String> {
    typed(onnx, batch, precision).and_then(|model| runtime.prepare(model)).map_err(|e| format!("{e:#}"))
}

fn typed(mut onnx: &[u8], batch: Batch, precision: Precision) -> TractResult<TypedModel> {
    let model = tract_onnx::onnx().model_for_read(&mut onnx)?.into_typed()?;
    let model = match batch {
        Batch::Any => model,
        Batch::Fixed(count) => {
            let symbol = model.symbols.sym(BATCH_SYMBOL);
            model.set_symbols(&HashMap::from([(symbol, count.to_dim())]))?
        }
    };
    let mut model = model.into_decluttered()?;
    if precision == Precision::F16 {
        to_f16(&mut model)?;
    }
    Ok(model)
}

/// Weights and operands of products go to 16 bits, all else stays as it is: sums of squares, as norms take them, would leave
/// the range of f16, and products are what costs time and memory. Inputs become f16, outputs stay f32.
fn to_f16(model: &mut TypedModel) -> TractResult<()> {
    let is_product = |node: &TypedNode| node.op_is::<EinSum>() || node.op_is::<Conv>();
    let (from, to) = (f32::datum_type(), f16::datum_type());
    FloatPrecisionTranslator::with_filter(from, to, is_product).transform(model)?;
    for output in 0..model.outputs.len() {
        let node = model.node(model.outputs[output].node);
        // The translator rounds what the graph answers with, too.
        if node.op_as::<Cast>().is_some_and(|cast| cast.to == to)
            && model.outlet_fact(node.inputs[0])?.datum_type == from
        {
            model.outputs[output] = node.inputs[0];
        }
    }
    *model = std::mem::take(model).into_decluttered()?;
    Ok(())
}

/// Runs a prepared graph. The error is what tract says.
pub(super) fn run(runnable: &dyn Runnable, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, String> {
    let outputs = inputs
        .into_iter()
        .enumerate()
        .map(|(index, input)| {
            let tensor = match input {
                Input::F32(array) => Tensor::from(array),
                Input::I64(array) => Tensor::from(array),
            };
            let wanted = runnable.input_fact(index)?.datum_type;
            Ok(tensor.cast_to_dt(wanted)?.into_owned().into_tvalue())
        })
        .collect::<TractResult<_>>()
        .and_then(|values| runnable.run(values))
        .map_err(|e| format!("{e:#}"))?;
    if outputs.is_empty() {
        return Err("it has no output".to_owned());
    }
    let arrays = outputs.into_iter().map(|output| {
        let output = output.into_tensor();
        output.cast_to_dt(f32::datum_type())?.into_owned().into_plain_array::<f32>()
    });
    arrays.collect::<TractResult<_>>().map_err(|e| format!("{e:#}"))
}
