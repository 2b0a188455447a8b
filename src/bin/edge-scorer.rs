//! The `edge-scorer` program; see `edge_scorer::cli::scorer`.

fn main() -> std::process::ExitCode {
    edge_scorer::cli::scorer::main()
}
