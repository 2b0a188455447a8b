//! The product as an operator of tract's.

use std::sync::Arc;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Weights;

/// Its name among the graph's operators.
pub(in super::super) const NAME: &str = "ConstantProduct";
/// The attribute that says which of the weights beside the graph are meant.
pub(in super::super) const INDEX: &str = "index";
/// The attribute that says how many columns they have.
pub(in super::super) const OUTER: &str = "outer";

/// `[.., K]` times weights `[K, N]`, plus their bias: `[.., N]`.
#[derive(Debug, Clone)]
pub(in super::super) struct ConstantProduct {
    pub(in super::super) index: usize,
    outer: usize,
    /// `None` until the graph and its weights have come together.
    pub(in super::super) weights: Option<Arc<Weights>>,
}

/// Weights are never compared: the operator stands for one place in one graph.
impl PartialEq for ConstantProduct {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.outer == other.outer
    }
}

impl Eq for ConstantProduct {}

/// Makes the operator known to the reader of graphs.
pub(in super::super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert(NAME, build);
}

fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let product = ConstantProduct { index: node.get_attr(INDEX)?, outer: node.get_attr(OUTER)?, weights: None };
    Ok((expand(product), Vec::new()))
}

impl Expansion for ConstantProduct {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].rank, &outputs[0].rank)?;
        solver.given(&inputs[0].shape, move |solver, shape| {
            let shape = with_outer(shape.iter().cloned().collect(), self.outer);
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for ConstantProduct {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    op_as_typed_op!();
}

impl EvalOp for ConstantProduct {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let weights = self.weights.as_ref().context("the product has no weights yet")?;
        let input = args_1!(inputs);
        ensure!(input.shape().last() == Some(&weights.inner()), "{weights:?} cannot be multiplied with {input:?}");
        let shape = with_outer(input.shape().into(), weights.outer());
        // SAFETY: the product writes every value.
        let mut output = unsafe { Tensor::uninitialized::<f32>(&shape)? };
        weights.multiply(input.try_as_plain_ram()?.as_slice::<f32>()?, output.try_as_plain_ram_mut()?.as_slice_mut()?);
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for ConstantProduct {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = with_outer(inputs[0].shape.to_tvec(), self.outer);
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}

/// The shape of the product with that many columns.
fn with_outer<D: From<usize>>(mut shape: TVec<D>, outer: usize) -> TVec<D> {
    if let Some(last) = shape.last_mut() {
        *last = outer.into();
    }
    shape
}
