//! A `Clip` behind a convolution, such as ReLU6, which the operator of the convolution does itself.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::graph::{GraphIndex, floats};

/// A `Clip` node that alone reads the output of another node.
pub(super) struct Clip {
    /// Index of the `Clip` node.
    at: usize,
    /// Name of its output.
    output: String,
    /// Smallest and largest result.
    pub(super) limits: [f32; 2],
}

impl Clip {
    /// Returns the `Clip` that alone reads the output of `node`, if its limits are constant and in order.
    pub(super) fn behind(index: &GraphIndex<'_>, node: &NodeProto) -> Option<Self> {
        let (at, clip) = index.only_reader(node, "Clip")?;
        let limit = |side: usize, open: f32| match clip.input.get(side).filter(|name| !name.is_empty()) {
            None => Some(open),
            Some(name) => match floats(index.constant(name)?)?.as_slice() {
                &[value] => Some(value),
                _ => None,
            },
        };
        let limits = [limit(1, f32::NEG_INFINITY)?, limit(2, f32::INFINITY)?];
        Some(Self { at, output: clip.output.first()?.clone(), limits }).filter(|_| limits[0] <= limits[1])
    }

    /// Gives the output of the `Clip` to the node at index `node`. Nothing reads the `Clip` any longer, so it is removed with the other
    /// unread nodes.
    pub(super) fn move_into(self, graph: &mut GraphProto, node: usize) {
        graph.node[self.at].output = vec![format!("{} before it moved", self.output)];
        graph.node[node].output = vec![self.output];
    }
}
