//! `edge-trainer`: see `edge_scorer::cli::trainer`.

fn main() -> std::process::ExitCode {
    edge_scorer::cli::trainer::main()
}
