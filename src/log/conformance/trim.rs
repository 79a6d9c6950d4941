//! A log's beginning that moves up.

use super::*;

pub(crate) async fn what_was_trimmed_is_said_to_be_gone_and_the_log_goes_on(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    assert_eq!(log.base(), Seq(1));
    fill(&*log, 1_000).await;
    let all = read_all(&*log).await;
    for (upto, base) in [(0, 1), (600, 601), (600, 601), (10, 601), (601, 602)] {
        assert_eq!((log.trim(Seq(upto)).await.unwrap(), log.base()), (Seq(base), Seq(base)), "up to {upto}");
    }
    let trimmed = |result: Result<_, _>| matches!(result, Err(Error::Trimmed { base: Seq(602) }));
    for after in [0, 1, 599, 600] {
        assert!(trimmed(log.read(Seq(after), 10).await), "after {after}");
    }
    assert!(trimmed(log.get(vec![Seq(601), Seq(700)]).await) && trimmed(log.get(vec![Seq(1)]).await));
    assert_eq!(log.read(Seq(601), 2).await.unwrap(), all[601..603]);
    assert_eq!(log.get(vec![Seq(602), Seq(1_000)]).await.unwrap(), [all[601].clone(), all[999].clone()]);
    assert_eq!((read_all(&*log).await, log.tail()), (all[601..].to_vec(), Seq(1_000)));
    let error = log.read(Seq(1), 1).await.unwrap_err();
    assert!(!error.retryable() && error.code() == "log-trimmed", "{error}");
    let verdict = one(&*log, append(1_000 - SCAN_MAX, 2, &[1_000_999], vec![post(1, "a")])).await;
    assert!(matches!(verdict, Verdict::Conflict(missed) if missed.len() as u64 == SCAN_MAX), "it is judged as before");
    appended(one(&*log, append(1_000, 3, &[1], vec![post(1, "a")])).await);
    assert_eq!(log.tail(), Seq(1_001));
}

pub(crate) async fn the_newest_entries_cannot_be_trimmed(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, SCAN_MAX + 10).await;
    for upto in [11, SCAN_MAX + 10, SCAN_MAX + 11, u64::MAX] {
        assert!(matches!(log.trim(Seq(upto)).await, Err(Error::Invalid(_))), "up to {upto}");
    }
    assert_eq!(log.base(), Seq(1));
    assert_eq!(log.trim(Seq(10)).await.unwrap(), Seq(11));
}

pub(crate) async fn what_was_trimmed_counts_as_erased(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, 1_000).await;
    let all = read_all(&*log).await;
    log.trim(Seq(500)).await.unwrap();
    log.erase(vec![Seq(7), Seq(500), Seq(501), Seq(900)]).await.unwrap();
    assert_eq!(read_all(&*log).await, without(&all, &[501, 900])[500..]);
    assert_eq!(log.erase(vec![Seq(7), Seq(501)]).await.unwrap(), 0);
    assert_eq!((log.base(), log.tail()), (Seq(501), Seq(1_000)));
}
