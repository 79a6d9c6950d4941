//! Entries at single positions.

use super::*;

/// The entries at these positions, in as many calls as it takes.
async fn get_all(log: &dyn Log, positions: &[u64]) -> Vec<Arc<Entry>> {
    let positions: Vec<_> = positions.iter().copied().map(Seq).collect();
    let mut all: Vec<Arc<Entry>> = Vec::new();
    while all.len() < positions.len() {
        let got = log.get(positions[all.len()..].to_vec()).await.unwrap();
        assert!(!got.is_empty(), "at least one");
        all.extend(got);
    }
    all
}

pub(crate) async fn what_is_at_single_positions_comes_in_order_and_as_it_is_read(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, 600).await;
    let all = read_all(&*log).await;
    let every = |step| (1..=600).step_by(step).collect::<Vec<_>>();
    for positions in [vec![], vec![1], vec![600], vec![1, 600], vec![2, 3, 4, 77, 300, 301, 599], every(1), every(7)] {
        let expected: Vec<_> = positions.iter().map(|seq| all[*seq as usize - 1].clone()).collect();
        assert_eq!(get_all(&*log, &positions).await, expected, "{positions:?}");
    }
    assert_eq!(log.get(vec![]).await.unwrap(), []);
    log.erase(vec![Seq(3), Seq(300)]).await.unwrap();
    let gone = without(&all, &[3, 300]);
    assert_eq!(get_all(&*log, &[2, 3, 300]).await, [1, 2, 299].map(|at: usize| gone[at].clone()));
}

pub(crate) async fn a_get_is_bounded_and_gives_a_beginning(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let text = "x".repeat(60_000);
    for n in 0..40 {
        one(&*log, append(0, 1, &[], vec![post(n, &text)])).await;
    }
    let odd: Vec<_> = (1..=40).filter(|n| n % 20 != 0).collect();
    let got = log.get(odd.iter().copied().map(Seq).collect()).await.unwrap();
    assert!(!got.is_empty() && got.len() < 30, "{} entries", got.len());
    assert!(got.iter().zip(&odd).all(|(entry, seq)| entry.header.seq.0 == *seq));
    assert!(get_all(&*log, &odd).await.iter().map(|entry| entry.header.seq.0).eq(odd));
}

pub(crate) async fn positions_that_are_not_there_are_named(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, 9).await;
    for (positions, named) in [(vec![1, 10], "10"), (vec![0], "0"), (vec![4, 3], "3"), (vec![5, 5], "5")] {
        let error = log.get(positions.iter().copied().map(Seq).collect()).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(why) if why.contains(named)), "{positions:?}: {error}");
    }
}
