//! The simulation's runs: seeds that are always tried, and new ones each time.

use std::time::Duration;

use super::{plan::Plan, world::World};

/// Runs a plan; what went wrong, and after how many steps.
fn run(plan: Plan) -> Result<u64, (u64, String)> {
    let mut world = World::new(plan);
    match world.run() {
        Ok(()) => Ok(world.steps),
        Err(why) => Err((world.steps, format!("after {:?}: {why}", world.at))),
    }
}

/// The smallest plan of the same seed that still fails: without kinds of faults that it does not need, and shorter.
fn shrink(mut plan: Plan) -> Plan {
    let fewer: [fn(&mut Plan); 8] = [
        |plan| plan.pauses = false,
        |plan| plan.kills = false,
        |plan| plan.outages = false,
        |plan| plan.lost_answers = false,
        |plan| plan.failovers = false,
        |plan| plan.skews = false,
        |plan| plan.steps = false,
        |plan| plan.full = false,
    ];
    for less in fewer {
        let mut smaller = plan;
        less(&mut smaller);
        if smaller != plan && run(smaller).is_err() {
            plan = smaller;
        }
    }
    while plan.busy > Duration::from_secs(2) {
        let shorter = Plan { busy: plan.busy * 3 / 4, ..plan };
        if run(shorter).is_ok() {
            break;
        }
        plan = shorter;
    }
    plan
}

fn check(seed: u64) -> u64 {
    let plan = Plan::of(seed);
    match run(plan) {
        Ok(steps) => steps,
        Err((steps, why)) => {
            let small = shrink(plan);
            let again = run(small).err().map(|(_, why)| why);
            panic!(
                "seed {seed} failed after {steps} steps, {why}\n  ANTIPHON_SEED={seed} repeats it\n  smallest: {small:?}\n  {again:?}"
            );
        }
    }
}

/// The seeds of `ANTIPHON_SEEDS=from..to`.
fn range(range: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = range.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// The seeds to try: those that are asked for, or the first `fixed` and so many new ones.
fn seeds(fixed: u64, fresh: u64) -> Vec<u64> {
    if let Some(seed) = std::env::var("ANTIPHON_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return vec![seed];
    }
    if let Ok(seeds) = std::env::var("ANTIPHON_SEEDS") {
        return range(&seeds).expect("ANTIPHON_SEEDS is from..to").collect();
    }
    (0..fixed).chain((0..fresh).map(|_| u64::from(rand::random::<u32>()))).collect()
}

#[test]
fn whole_nodes_keep_their_promises_under_every_fault() {
    let soak = std::env::var_os("ANTIPHON_SOAK").is_some();
    let seeds = if soak { seeds(100_000, 1_000) } else { seeds(20, 5) };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (begun, count) = (std::time::Instant::now(), seeds.len());
    let parts: Vec<Vec<u64>> = (0..threads).map(|n| seeds.iter().copied().skip(n).step_by(threads).collect()).collect();
    let steps: u64 = std::thread::scope(|scope| {
        let runs: Vec<_> =
            parts.iter().map(|part| scope.spawn(|| part.iter().map(|seed| check(*seed)).sum::<u64>())).collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|why| std::panic::resume_unwind(why))).sum()
    });
    println!("{count} seeds, {steps} steps in {:?}", begun.elapsed());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 7] {
        assert_eq!(run(Plan::of(seed)), run(Plan::of(seed)));
    }
}
