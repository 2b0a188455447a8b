//! The `edge-scorer` program; see `edge_scorer::cli`.

fn main() -> std::process::ExitCode {
    edge_scorer::cli::main()
}
