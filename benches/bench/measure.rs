//! What the benches share: medians and percentiles, the raw fdatasync, a folder, a runtime.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

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

/// One 300-byte write and fdatasync, in ms: the raw thing under every acknowledgement.
pub(crate) fn fdatasync_ms(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("raw")).expect("a file");
    file.write_all(&vec![0; 4 << 20]).and_then(|()| file.sync_all()).expect("space");
    let times = (0..300).map(|n| {
        let at = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 300], n * 300)
            .and_then(|()| file.sync_data())
            .expect("a write");
        at.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// p50 and p99 of each run, the median of the runs.
pub(crate) fn p50_p99(runs: Vec<Vec<f64>>) -> (f64, f64) {
    let (p50, _, p99) = p50_p95_p99(runs);
    (p50, p99)
}

/// The same with p95 between.
pub(crate) fn p50_p95_p99(runs: Vec<Vec<f64>>) -> (f64, f64, f64) {
    let runs: Vec<Vec<f64>> = runs.into_iter().map(sorted).collect();
    let of = |p: f64| median(runs.iter().map(|run| percentile(run, p)).collect());
    (of(0.5), of(0.95), of(0.99))
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

fn sorted(mut run: Vec<f64>) -> Vec<f64> {
    run.sort_unstable_by(f64::total_cmp);
    run
}
