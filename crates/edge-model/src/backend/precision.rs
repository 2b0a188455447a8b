//! What a device computes in.

use std::fmt;
use std::str::FromStr;

/// Floating-point numbers that a graph is computed in. Inputs and outputs are `f32` in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits: what the goldens were made in.
    #[default]
    F32,
    /// 16 bits for weights and for the operands of products, 32 bits for all else. Half the memory, and on most GPUs faster by
    /// far; scores are the same to about three digits.
    F16,
    /// 8 bits for the weights and the operands of large products, whose sums are exact; 32 bits for all else. On processors that
    /// multiply bytes, several times faster. Each weight's column and each activation's row has a scale of its own.
    Int8,
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(format!("{text:?} is no precision: use f32, f16 or int8")),
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
