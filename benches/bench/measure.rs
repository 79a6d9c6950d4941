//! What the benches share: medians and percentiles, a folder, a runtime.

use std::path::PathBuf;

/// A folder beside the build, not in /tmp, which may be memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tempfile::tempdir_in(target).expect("a folder")
}

/// Runs a part to its end on two threads.
pub(crate) fn block(part: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(part);
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// p50 and p99 of each run, the median of the runs.
pub(crate) fn p50_p99(runs: Vec<Vec<f64>>) -> (f64, f64) {
    let runs: Vec<Vec<f64>> = runs.into_iter().map(sorted).collect();
    let of = |p: f64| median(runs.iter().map(|run| percentile(run, p)).collect());
    (of(0.5), of(0.99))
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

fn sorted(mut run: Vec<f64>) -> Vec<f64> {
    run.sort_unstable_by(f64::total_cmp);
    run
}
