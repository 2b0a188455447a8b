//! `edge-trainer`: see `edge_trainer::cli`.

fn main() -> std::process::ExitCode {
    edge_trainer::cli::main()
}
