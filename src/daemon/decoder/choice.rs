//! Selects the process in which files are decoded.

/// The processes in which files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decoders {
    /// In the daemon's own process. This is for programs other than edge-scorer that use this library.
    Here,
    /// In processes of the same program, which must call [`serve`](super::serve()) when it is started with [`Decoders::ARGUMENT`].
    #[default]
    Processes,
}

impl Decoders {
    /// The hidden subcommand that runs the program as a decoder process.
    pub const ARGUMENT: &'static str = "decoder-process";
}
