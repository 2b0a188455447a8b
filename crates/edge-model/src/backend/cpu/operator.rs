//! Our own operators in a graph of tract's.

use std::sync::Arc;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::attention::Attention;
use super::constants::{Constants, Table};
use super::convolution::{Filters, Windows};
use super::product::{F32Product, Kernels, Weights};
use super::rows::{Width, layer_norm, mean_of_columns, mean_of_rows};

/// `[.., K]` times weights `[K, N]`, plus their bias: `[.., N]`. Attributes [`INDEX`] and [`OUTER`].
pub(super) const CONSTANT_PRODUCT: &str = "ConstantProduct";
/// `[.., W]`, a scale and a shift `[W]`: as the first. Attribute [`EPSILON`].
pub(super) const ROW_NORM: &str = "RowNorm";
/// Queries `[N, Q, W]`, keys and values `[N, K, W]`, perhaps a mask `[.., Q, K]` for all of `N`: as the queries. Attributes [`HEADS`]
/// and [`FACTOR`].
pub(super) const HEADS_ATTENTION: &str = "HeadsAttention";
/// Row numbers, `i64 [..]`: the rows of a table, `[.., W]`. Attributes [`INDEX`] and [`OUTER`].
pub(super) const TABLE_LOOKUP: &str = "TableLookup";
/// `[N, C, H, W]`: what filters say of every window, `[N, F, H', W']`. Attributes [`INDEX`] and [`WINDOWS`].
pub(super) const WINDOW_PRODUCT: &str = "WindowProduct";
/// The mean over one axis, which disappears. Attribute [`AXIS`].
pub(super) const AXIS_MEAN: &str = "AxisMean";
/// Which of the weights, tables or filters beside the graph are meant.
pub(super) const INDEX: &str = "index";
/// How many columns they have.
pub(super) const OUTER: &str = "outer";
/// Filters; channels, height and width of a window, steps down and across.
pub(super) const WINDOWS: &str = "windows";
pub(super) const AXIS: &str = "axis";
pub(super) const EPSILON: &str = "epsilon";
pub(super) const HEADS: &str = "heads";
pub(super) const FACTOR: &str = "factor";

/// The name of a node's operator, if it is one of these.
pub(super) fn is_ours(node: &NodeProto) -> Option<&str> {
    let ours = [CONSTANT_PRODUCT, ROW_NORM, HEADS_ATTENTION, TABLE_LOOKUP, WINDOW_PRODUCT, AXIS_MEAN];
    ours.contains(&node.op_type.as_str()).then_some(&node.op_type)
}

/// An operator; without its weights and kernels until graph and these have come together.
#[derive(Debug, Clone)]
pub(super) struct Operator(Kind);

#[derive(Debug, Clone)]
enum Kind {
    ConstantProduct { index: usize, outer: usize, weights: Option<Arc<Weights>> },
    RowNorm { epsilon: f32 },
    HeadsAttention { heads: usize, factor: f32, attention: Option<Attention> },
    TableLookup { index: usize, outer: usize, table: Option<Arc<Table>> },
    WindowProduct { index: usize, count: usize, windows: Windows, filters: Option<(Arc<Filters>, F32Product)> },
    AxisMean { axis: usize },
}

/// Operators are not compared: each stands for one place in one graph.
impl PartialEq for Operator {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Operator {}

/// Makes the operators known to the reader of graphs.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert(CONSTANT_PRODUCT, |_, node| {
        read(Kind::ConstantProduct { index: node.get_attr(INDEX)?, outer: node.get_attr(OUTER)?, weights: None })
    });
    operators.insert(TABLE_LOOKUP, |_, node| {
        read(Kind::TableLookup { index: node.get_attr(INDEX)?, outer: node.get_attr(OUTER)?, table: None })
    });
    operators.insert(WINDOW_PRODUCT, |_, node| {
        let [count, channels, height, width, down, across]: [usize; 6] =
            node.get_attr_tvec(WINDOWS)?.as_slice().try_into()?;
        let windows = Windows { channels, size: [height, width], step: [down, across] };
        read(Kind::WindowProduct { index: node.get_attr(INDEX)?, count, windows, filters: None })
    });
    operators.insert(AXIS_MEAN, |_, node| read(Kind::AxisMean { axis: node.get_attr(AXIS)? }));
    operators.insert(ROW_NORM, |_, node| read(Kind::RowNorm { epsilon: node.get_attr(EPSILON)? }));
    operators.insert(HEADS_ATTENTION, |_: &ParsingContext, node: &NodeProto| {
        let (heads, factor) = (node.get_attr(HEADS)?, node.get_attr(FACTOR)?);
        read(Kind::HeadsAttention { heads, factor, attention: None })
    });
}

fn read(kind: Kind) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(Operator(kind)), Vec::new()))
}

/// Gives the operators of a graph what they work with.
pub(super) fn complete(model: &mut TypedModel, constants: &Constants, kernels: &Kernels) {
    let product = kernels.f32();
    for operator in model.nodes_mut().iter_mut().filter_map(|node| node.op_as_mut::<Operator>()) {
        match &mut operator.0 {
            Kind::ConstantProduct { index, weights, .. } => *weights = constants.weights.get(*index).cloned(),
            Kind::TableLookup { index, table, .. } => *table = constants.tables.get(*index).cloned(),
            Kind::HeadsAttention { heads, factor, attention } => {
                *attention = Some(Attention { heads: *heads, factor: *factor, product, width: Width::best() });
            }
            Kind::WindowProduct { index, windows, filters, .. } => {
                let found = constants.filters.get(*index).filter(|filters| filters.shape() == *windows);
                *filters = found.map(|filters| (Arc::clone(filters), product));
            }
            Kind::RowNorm { .. } | Kind::AxisMean { .. } => {}
        }
    }
}

impl Operator {
    /// The shape of the answer to a first input of that shape.
    fn shape(&self, mut input: TVec<TDim>) -> TractResult<TVec<TDim>> {
        match (&self.0, input.last_mut()) {
            (Kind::ConstantProduct { outer, .. }, Some(last)) => *last = outer.to_dim(),
            (Kind::TableLookup { outer, .. }, _) => input.push(outer.to_dim()),
            (Kind::AxisMean { axis }, _) => {
                ensure!(*axis < input.len(), "there is no axis {axis}");
                input.remove(*axis);
            }
            (Kind::WindowProduct { count, windows, .. }, _) => {
                let &[_, _, height, width] = &input.as_slice() else { bail!("a picture of {input:?}") };
                let beside = windows.count([height.to_usize()?, width.to_usize()?]);
                input[1..].clone_from_slice(&[count.to_dim(), beside[0].to_dim(), beside[1].to_dim()]);
            }
            _ => {}
        }
        Ok(input)
    }

    /// The same for a shape that is known.
    fn known_shape(&self, input: &[usize]) -> TractResult<TVec<usize>> {
        let shape = self.shape(input.iter().map(|dim| dim.to_dim()).collect())?;
        shape.iter().map(|dim| Ok(dim.to_usize()?)).collect()
    }
}

impl Expansion for Operator {
    fn name(&self) -> StaticName {
        Op::name(self)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        // Row numbers are whole numbers of one kind or another.
        for input in inputs.iter().filter(|_| !matches!(self.0, Kind::TableLookup { .. })) {
            solver.equals(&input.datum_type, f32::datum_type())?;
        }
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.given(&inputs[0].shape, move |solver, shape| {
            solver.equals(&outputs[0].shape, self.shape(shape.iter().cloned().collect())?)
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Operator {
    fn name(&self) -> StaticName {
        match self.0 {
            Kind::ConstantProduct { .. } => CONSTANT_PRODUCT,
            Kind::RowNorm { .. } => ROW_NORM,
            Kind::HeadsAttention { .. } => HEADS_ATTENTION,
            Kind::WindowProduct { .. } => WINDOW_PRODUCT,
            Kind::AxisMean { .. } => AXIS_MEAN,
            Kind::TableLookup { .. } => TABLE_LOOKUP,
        }
        .into()
    }

    op_as_typed_op!();
}

impl EvalOp for Operator {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        if let Kind::TableLookup { table, .. } = &self.0 {
            let table = table.as_ref().context("the lookup has no table yet")?;
            return look_up(table, &inputs[0], &self.known_shape(inputs[0].shape())?);
        }
        let shapes: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let values = inputs.iter().map(|input| input.try_as_plain_ram()?.as_slice::<f32>());
        let values = values.collect::<TractResult<TVec<_>>>()?;
        ensure!(values.iter().all(|values| !values.is_empty()), "nothing to compute with: {shapes:?}");
        let shape = self.known_shape(shapes[0])?;
        let width = shapes[0].last().copied().unwrap_or(1);
        // SAFETY: every operator writes all of it.
        let mut output = unsafe { Tensor::uninitialized::<f32>(&shape)? };
        let mut view = output.try_as_plain_ram_mut()?;
        let out = view.as_slice_mut::<f32>()?;
        match &self.0 {
            Kind::ConstantProduct { weights, .. } => {
                let weights = weights.as_ref().context("the product has no weights yet")?;
                ensure!(width == weights.inner(), "{weights:?} cannot be multiplied with {:?}", shapes[0]);
                // All but the batch and the width.
                let together = shapes[0].get(1..shapes[0].len() - 1).unwrap_or_default().iter().product();
                weights.multiply(values[0], together, out);
            }
            Kind::TableLookup { .. } => {}
            Kind::AxisMean { axis } => mean(values[0], shapes[0], *axis, out),
            Kind::WindowProduct { windows, filters, .. } => {
                let (filters, product) = filters.as_ref().context("the convolution has no filters yet")?;
                let &[count, channels, height, across] = shapes[0] else { bail!("a picture of {shapes:?}") };
                ensure!(channels == windows.channels, "{filters:?} for a picture of {shapes:?}");
                let size = out.len() / count.max(1);
                for (input, out) in values[0].chunks_exact(channels * height * across).zip(out.chunks_exact_mut(size)) {
                    filters.run(*product, input, [height, across], out);
                }
            }
            Kind::RowNorm { epsilon } => {
                ensure!(values[1].len() == width && values[2].len() == width, "a norm of {shapes:?}");
                layer_norm(Width::best(), values[0], values[1], values[2], *epsilon, out);
            }
            Kind::HeadsAttention { heads, attention, .. } => {
                let attention = attention.as_ref().context("the attention has no kernels yet")?;
                let (&[count, queries, _], &[_, keys, _]) = (shapes[0], shapes[1]) else {
                    bail!("attention of {shapes:?}")
                };
                let mask = values.get(3).copied().unwrap_or_default();
                let fits = width.is_multiple_of(*heads) && shapes[1] == [count, keys, width] && shapes[1] == shapes[2];
                ensure!(fits && (mask.is_empty() || mask.len() == queries * keys), "attention of {shapes:?}");
                let (queries, keys) = (queries * width, keys * width);
                for (n, out) in out.chunks_exact_mut(queries).enumerate() {
                    let example = |side: usize, length: usize| &values[side][n * length..][..length];
                    attention.run([example(0, queries), example(1, keys), example(2, keys), mask], width, out);
                }
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

/// Over one axis.
fn mean(values: &[f32], shape: &[usize], axis: usize, out: &mut [f32]) {
    let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let width = Width::best();
    if inner == 1 {
        return mean_of_rows(width, values, length, out);
    }
    for (values, out) in values.chunks_exact(length * inner).zip(out.chunks_exact_mut(inner)) {
        mean_of_columns(width, values, out);
    }
}

fn look_up(table: &Table, numbers: &Tensor, shape: &[usize]) -> TractResult<TVec<TValue>> {
    let mut output = Tensor::zero::<f32>(shape)?;
    let mut view = output.try_as_plain_ram_mut()?;
    let rows = view.as_slice_mut::<f32>()?.chunks_exact_mut(table.width);
    let numbers = numbers.cast_to::<i64>()?;
    for (row, number) in rows.zip(numbers.try_as_plain_ram()?.as_slice::<i64>()?) {
        row.copy_from_slice(table.row(*number).with_context(|| format!("{table:?} has no row {number}"))?);
    }
    Ok(tvec!(output.into_tvalue()))
}

impl TypedOp for Operator {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(self.shape(inputs[0].shape.to_tvec())?)))
    }

    as_op!();
}
