//! The precision in which a device computes.

use std::fmt;
use std::str::FromStr;

/// Number format of a graph's large products. Inputs and outputs of a graph are always `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32-bit floats, in which the goldens were computed.
    #[default]
    F32,
    /// 16-bit floats for the weights and operands of products, 32-bit floats for everything else. Needs half the memory and is much
    /// faster on most GPUs; scores agree with those of `F32` to about three digits.
    F16,
    /// 8-bit integers for the weights and operands of large products, with exact sums; 32-bit floats for everything else. Several times
    /// faster on processors with instructions that multiply bytes. Each column of the weights and each row of the activations has its own
    /// scale.
    Int8,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(format!("{text:?} is not a precision: use f32, f16 or int8")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}
