//! What all of tract's runtimes share: preparing an ONNX graph and running it.

use std::collections::HashMap;

use ndarray::ArrayD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ToDim;

use super::{Backend, BackendError, Batch, Graph, Input, Policy};

/// The symbol of the batch dimension in a bundle's graphs.
const BATCH_SYMBOL: &str = "N";

/// A tract runtime under the name of its device.
pub(super) struct TractBackend {
    pub(super) device: &'static str,
    pub(super) policy: Policy,
    pub(super) runtime: &'static dyn Runtime,
}

impl Backend for TractBackend {
    fn device(&self) -> &'static str {
        self.device
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    fn load(&self, name: &str, onnx: &[u8], batch: Batch) -> Result<Box<dyn Graph>, BackendError> {
        let runnable = prepare(self.runtime, onnx, batch).map_err(|e| BackendError::Load {
            device: self.device.to_owned(),
            graph: name.to_owned(),
            reason: format!("{e:#}"),
        })?;
        Ok(Box::new(TractGraph { device: self.device, name: name.to_owned(), runnable }))
    }
}

fn prepare(runtime: &dyn Runtime, mut onnx: &[u8], batch: Batch) -> TractResult<Box<dyn Runnable>> {
    let model = tract_onnx::onnx().model_for_read(&mut onnx)?.into_typed()?;
    let model = match batch {
        Batch::Any => model,
        Batch::Fixed(count) => {
            let symbol = model.symbols.sym(BATCH_SYMBOL);
            model.set_symbols(&HashMap::from([(symbol, count.to_dim())]))?
        }
    };
    runtime.prepare(model.into_decluttered()?)
}

struct TractGraph {
    device: &'static str,
    name: String,
    runnable: Box<dyn Runnable>,
}

impl Graph for TractGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let fail =
            |reason: String| BackendError::Run { device: self.device.to_owned(), graph: self.name.clone(), reason };
        let values = inputs
            .into_iter()
            .map(|input| match input {
                Input::F32(array) => Tensor::from(array).into_tvalue(),
                Input::I64(array) => Tensor::from(array).into_tvalue(),
            })
            .collect();
        let outputs = self.runnable.run(values).map_err(|e| fail(format!("{e:#}")))?;
        if outputs.is_empty() {
            return Err(fail("it has no output".to_owned()));
        }
        let arrays = outputs.into_iter().map(|output| output.into_tensor().into_plain_array::<f32>());
        arrays.collect::<Result<_, _>>().map_err(|e| fail(format!("{e:#}")))
    }
}
