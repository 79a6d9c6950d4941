//! Benches, one a module: `cargo bench --bench bench -- log`. Without a name: all.

mod log;

fn main() {
    // Cargo adds `--bench` of its own.
    let name = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let benches: [(&str, fn()); 1] = [("log", log::run)];
    let chosen: Vec<_> = benches.iter().filter(|(n, _)| name.as_deref().is_none_or(|name| name == *n)).collect();
    if chosen.is_empty() {
        eprintln!("no such bench; there are: {}", benches.map(|(n, _)| n).join(", "));
        std::process::exit(2);
    }
    chosen.iter().for_each(|(_, run)| run());
}
