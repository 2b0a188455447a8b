//! Our own operators in tract's graphs.

use std::sync::Arc;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::attention::Attention;
use super::constants::{Constants, LookupTable};
use super::convolution::ConvFilters;
use super::depthwise::DepthwiseFilters;
use super::product::{F32Kernel, PackedWeights, ProductKernels};
use super::rows::{VectorWidth, layer_norm, mean_of_columns, mean_of_rows};
use super::windows::ConvWindows;

/// Product of `[.., K]` and constant weights `[K, N]`, plus their bias. Output `[.., N]`. Attributes [`INDEX`] and [`OUTER`].
pub(super) const CONSTANT_PRODUCT: &str = "ConstantProduct";
/// Layer norm of `[.., W]` with a scale and a shift `[W]`. Output `[.., W]`. Attribute [`EPSILON`].
pub(super) const ROW_NORM: &str = "RowNorm";
/// Attention of queries `[N, Q, W]` to keys and values `[N, K, W]`, with an optional mask `[.., Q, K]` that the whole batch shares. Output
/// `[N, Q, W]`. Attributes [`HEADS`] and [`FACTOR`].
pub(super) const HEADS_ATTENTION: &str = "HeadsAttention";
/// Looks up rows of a constant table by their numbers, `i64 [..]`. Output `[.., W]`. Attributes [`INDEX`] and [`OUTER`].
pub(super) const TABLE_LOOKUP: &str = "TableLookup";
/// Convolution of `[N, C, H, W]` with constant filters. Output `[N, F, H', W']`. Attributes [`INDEX`], [`OUTER`] and [`WINDOWS`].
pub(super) const WINDOW_PRODUCT: &str = "WindowProduct";
/// Convolution of `[N, C, H, W]` with one constant filter per channel, zeros around the maps, and a clamp of the results. Output
/// `[N, C, H', W']`. Attributes [`INDEX`] and [`WINDOWS`].
pub(super) const DEPTHWISE_CONV: &str = "DepthwiseConv";
/// Mean over one axis or several neighbouring ones, which the output lacks. Attributes [`AXIS`] and [`AXES`].
pub(super) const AXIS_MEAN: &str = "AxisMean";
/// Index of the operator's weights, table or filters among the graph's constants.
pub(super) const INDEX: &str = "index";
/// Number of columns of the weights or of the table, or of filters.
pub(super) const OUTER: &str = "outer";
/// The windows of a convolution: channels; height and width; strides down and across; rows of zeros above and columns of zeros to the left;
/// the same below and to the right.
pub(super) const WINDOWS: &str = "windows";
/// The first axis of a mean, and the number of its axes.
pub(super) const AXIS: &str = "axis";
pub(super) const AXES: &str = "axes";
pub(super) const EPSILON: &str = "epsilon";
pub(super) const HEADS: &str = "heads";
pub(super) const FACTOR: &str = "factor";

/// Returns the type of a node if it is one of our operators.
pub(super) fn is_ours(node: &NodeProto) -> Option<&str> {
    let ours = [CONSTANT_PRODUCT, ROW_NORM, HEADS_ATTENTION, TABLE_LOOKUP, WINDOW_PRODUCT, DEPTHWISE_CONV, AXIS_MEAN];
    ours.contains(&node.op_type.as_str()).then_some(&node.op_type)
}

/// One of our operators. [`complete`] gives it its constants and kernels, which are `None` before.
#[derive(Debug, Clone)]
pub(super) struct Operator(OperatorKind);

#[derive(Debug, Clone)]
enum OperatorKind {
    ConstantProduct { index: usize, outer: usize, weights: Option<Arc<PackedWeights>> },
    RowNorm { epsilon: f32 },
    HeadsAttention { heads: usize, factor: f32, attention: Option<Attention> },
    TableLookup { index: usize, outer: usize, table: Option<Arc<LookupTable>> },
    WindowProduct { index: usize, count: usize, windows: ConvWindows, filters: Option<(Arc<ConvFilters>, F32Kernel)> },
    DepthwiseConv { index: usize, windows: ConvWindows, filters: Option<Arc<DepthwiseFilters>> },
    AxisMean { axis: usize, axes: usize },
}

/// Required by tract, which may merge nodes whose operators are equal. Always false, so that no nodes are merged.
impl PartialEq for Operator {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Operator {}

/// Registers the operators with tract's ONNX reader.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert(CONSTANT_PRODUCT, |_, node| {
        read(OperatorKind::ConstantProduct {
            index: node.get_attr(INDEX)?,
            outer: node.get_attr(OUTER)?,
            weights: None,
        })
    });
    operators.insert(TABLE_LOOKUP, |_, node| {
        read(OperatorKind::TableLookup { index: node.get_attr(INDEX)?, outer: node.get_attr(OUTER)?, table: None })
    });
    operators.insert(WINDOW_PRODUCT, |_, node| {
        let (index, count, windows) = (node.get_attr(INDEX)?, node.get_attr(OUTER)?, windows(node)?);
        read(OperatorKind::WindowProduct { index, count, windows, filters: None })
    });
    operators.insert(DEPTHWISE_CONV, |_, node| {
        read(OperatorKind::DepthwiseConv { index: node.get_attr(INDEX)?, windows: windows(node)?, filters: None })
    });
    operators.insert(AXIS_MEAN, |_, node| {
        read(OperatorKind::AxisMean { axis: node.get_attr(AXIS)?, axes: node.get_attr(AXES)? })
    });
    operators.insert(ROW_NORM, |_, node| read(OperatorKind::RowNorm { epsilon: node.get_attr(EPSILON)? }));
    operators.insert(HEADS_ATTENTION, |_: &ParsingContext, node: &NodeProto| {
        let (heads, factor) = (node.get_attr(HEADS)?, node.get_attr(FACTOR)?);
        read(OperatorKind::HeadsAttention { heads, factor, attention: None })
    });
}

fn windows(node: &NodeProto) -> TractResult<ConvWindows> {
    let [channels, height, width, down, across, top, left, bottom, right]: [usize; 9] =
        node.get_attr_tvec(WINDOWS)?.as_slice().try_into()?;
    let (size, stride, before, after) = ([height, width], [down, across], [top, left], [bottom, right]);
    Ok(ConvWindows { channels, size, stride, before, after })
}

fn read(kind: OperatorKind) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(Operator(kind)), Vec::new()))
}

/// Gives the operators of a graph their constants and kernels.
pub(super) fn complete(model: &mut TypedModel, constants: &Constants, kernels: &ProductKernels) {
    let kernel = kernels.f32();
    for operator in model.nodes_mut().iter_mut().filter_map(|node| node.op_as_mut::<Operator>()) {
        match &mut operator.0 {
            OperatorKind::ConstantProduct { index, weights, .. } => *weights = constants.weights.get(*index).cloned(),
            OperatorKind::TableLookup { index, table, .. } => *table = constants.tables.get(*index).cloned(),
            OperatorKind::HeadsAttention { heads, factor, attention } => {
                *attention = Some(Attention { heads: *heads, factor: *factor, kernel, width: VectorWidth::best() });
            }
            OperatorKind::WindowProduct { index, windows, filters, .. } => {
                let found = constants.filters.get(*index).filter(|filters| filters.windows() == *windows);
                *filters = found.map(|filters| (Arc::clone(filters), kernel));
            }
            OperatorKind::DepthwiseConv { index, windows, filters } => {
                let found = constants.depthwise.get(*index).filter(|filters| filters.windows() == *windows);
                *filters = found.cloned();
            }
            OperatorKind::RowNorm { .. } | OperatorKind::AxisMean { .. } => {}
        }
    }
}

impl Operator {
    /// Returns the shape of the output for the shape of the first input.
    fn shape(&self, mut input: TVec<TDim>) -> TractResult<TVec<TDim>> {
        match (&self.0, input.last_mut()) {
            (OperatorKind::ConstantProduct { outer, .. }, Some(last)) => *last = outer.to_dim(),
            (OperatorKind::TableLookup { outer, .. }, _) => input.push(outer.to_dim()),
            (OperatorKind::AxisMean { axis, axes }, _) => {
                ensure!(
                    *axes <= input.len() && *axis <= input.len() - axes,
                    "the mean over {axes} axes from axis {axis} is impossible: the input has only {} axes",
                    input.len()
                );
                input.drain(*axis..axis + axes);
            }
            (OperatorKind::WindowProduct { count, windows, .. }, _) => {
                let [down, across] = windows.count(map_size(&input)?);
                input[1..].clone_from_slice(&[count.to_dim(), down.to_dim(), across.to_dim()]);
            }
            (OperatorKind::DepthwiseConv { windows, .. }, _) => {
                let [down, across] = windows.count(map_size(&input)?);
                input[2..].clone_from_slice(&[down.to_dim(), across.to_dim()]);
            }
            _ => {}
        }
        Ok(input)
    }

    /// Returns the shape of the output like [`Operator::shape`], for an input shape without symbols.
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
        // Row numbers may be integers of any type.
        for input in inputs.iter().filter(|_| !matches!(self.0, OperatorKind::TableLookup { .. })) {
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
            OperatorKind::ConstantProduct { .. } => CONSTANT_PRODUCT,
            OperatorKind::RowNorm { .. } => ROW_NORM,
            OperatorKind::HeadsAttention { .. } => HEADS_ATTENTION,
            OperatorKind::WindowProduct { .. } => WINDOW_PRODUCT,
            OperatorKind::DepthwiseConv { .. } => DEPTHWISE_CONV,
            OperatorKind::AxisMean { .. } => AXIS_MEAN,
            OperatorKind::TableLookup { .. } => TABLE_LOOKUP,
        }
        .into()
    }

    op_as_typed_op!();
}

impl EvalOp for Operator {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        if let OperatorKind::TableLookup { table, .. } = &self.0 {
            let table = table.as_ref().context("the lookup has no table")?;
            return look_up(table, &inputs[0], &self.known_shape(inputs[0].shape())?);
        }
        let shapes: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let values = inputs.iter().map(|input| input.try_as_plain_ram()?.as_slice::<f32>());
        let values = values.collect::<TractResult<TVec<_>>>()?;
        ensure!(values.iter().all(|values| !values.is_empty()), "an input is empty: {shapes:?}");
        let shape = self.known_shape(shapes[0])?;
        let width = shapes[0].last().copied().unwrap_or(1);
        // SAFETY: every operator below writes all elements of the output.
        let mut output = unsafe { Tensor::uninitialized::<f32>(&shape)? };
        let mut view = output.try_as_plain_ram_mut()?;
        let out = view.as_slice_mut::<f32>()?;
        match &self.0 {
            OperatorKind::ConstantProduct { weights, .. } => {
                let weights = weights.as_ref().context("the product has no weights")?;
                ensure!(
                    width == weights.inner(),
                    "an input of the shape {:?} cannot be multiplied by {weights:?}",
                    shapes[0]
                );
                // All axes but the batch and the width.
                let rows_per_item = shapes[0].get(1..shapes[0].len() - 1).unwrap_or_default().iter().product();
                weights.multiply(values[0], rows_per_item, out);
            }
            OperatorKind::TableLookup { .. } => {}
            OperatorKind::AxisMean { axis, axes } => mean(values[0], shapes[0], *axis..axis + axes, out),
            OperatorKind::WindowProduct { windows, filters, .. } => {
                let (filters, kernel) = filters.as_ref().context("the convolution has no filters")?;
                for_each_element(values[0], shapes[0], windows.channels, out, |input, map_size, out| {
                    filters.run(*kernel, input, map_size, out);
                })?;
            }
            OperatorKind::DepthwiseConv { windows, filters, .. } => {
                let filters = filters.as_ref().context("the depthwise convolution has no filters")?;
                for_each_element(values[0], shapes[0], windows.channels, out, |input, map_size, out| {
                    filters.run(VectorWidth::best(), input, map_size, out);
                })?;
            }
            OperatorKind::RowNorm { epsilon } => {
                ensure!(
                    values[1].len() == width && values[2].len() == width,
                    "a layer norm needs a scale and a shift as long as the last axis, not inputs of the shapes {shapes:?}"
                );
                layer_norm(VectorWidth::best(), values[0], values[1], values[2], *epsilon, out);
            }
            OperatorKind::HeadsAttention { heads, attention, .. } => {
                let attention = attention.as_ref().context("the attention has no kernel")?;
                let (&[count, queries, _], &[_, keys, _]) = (shapes[0], shapes[1]) else {
                    bail!("attention needs queries, keys and values of three axes, not inputs of the shapes {shapes:?}")
                };
                let mask = values.get(3).copied().unwrap_or_default();
                let fits = width.is_multiple_of(*heads) && shapes[1] == [count, keys, width] && shapes[1] == shapes[2];
                ensure!(
                    fits && (mask.is_empty() || mask.len() == queries * keys),
                    "attention needs queries [N, Q, W], keys and values [N, K, W] and a mask [Q, K], not {shapes:?}"
                );
                let (queries, keys) = (queries * width, keys * width);
                for (n, out) in out.chunks_exact_mut(queries).enumerate() {
                    let batch_element = |side: usize, length: usize| &values[side][n * length..][..length];
                    let inputs = [batch_element(0, queries), batch_element(1, keys), batch_element(2, keys), mask];
                    attention.run(inputs, width, out);
                }
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

/// Calls `convolve` for each element of the batch: with its part of `values`, the height and width of its maps, and its part of `out`.
///
/// # Errors
/// The shape is not `[N, channels, H, W]`.
fn for_each_element(
    values: &[f32],
    shape: &[usize],
    channels: usize,
    out: &mut [f32],
    mut convolve: impl FnMut(&[f32], [usize; 2], &mut [f32]),
) -> TractResult<()> {
    let &[count, found, height, width] = shape else {
        bail!("a convolution needs an input of the shape [N, C, H, W], not {shape:?}")
    };
    ensure!(
        found == channels,
        "a convolution with {channels} input channels cannot take an input of the shape {shape:?}"
    );
    let size = out.len() / count.max(1);
    for (values, out) in values.chunks_exact(channels * height * width).zip(out.chunks_exact_mut(size)) {
        convolve(values, [height, width], out);
    }
    Ok(())
}

/// Returns height and width of an input `[N, C, H, W]`.
fn map_size(input: &[TDim]) -> TractResult<[usize; 2]> {
    let [_, _, height, width] = input else {
        bail!("a convolution needs an input of the shape [N, C, H, W], not {input:?}")
    };
    Ok([height.to_usize()?, width.to_usize()?])
}

/// Computes the mean over neighbouring axes.
fn mean(values: &[f32], shape: &[usize], axes: std::ops::Range<usize>, out: &mut [f32]) {
    let inner = shape[axes.end..].iter().product::<usize>();
    let length = shape[axes].iter().product::<usize>();
    let width = VectorWidth::best();
    if inner == 1 {
        return mean_of_rows(width, values, length, out);
    }
    for (values, out) in values.chunks_exact(length * inner).zip(out.chunks_exact_mut(inner)) {
        mean_of_columns(width, values, out);
    }
}

fn look_up(table: &LookupTable, numbers: &Tensor, shape: &[usize]) -> TractResult<TVec<TValue>> {
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
