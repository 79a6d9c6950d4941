//! Erasing.

use super::*;

/// The entries as they are once those at these positions are erased.
pub(crate) fn without(entries: &[Arc<Entry>], positions: &[u64]) -> Vec<Arc<Entry>> {
    let mut gone = entries.to_vec();
    let positions: Vec<_> = positions.iter().copied().map(Seq).collect();
    crate::log::erase_among(&mut gone, &positions);
    gone
}

pub(crate) async fn an_erased_entry_is_read_without_its_body_and_nothing_else_changes(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let mut written = Vec::new();
    for n in 1..=60u128 {
        let text = format!("secret {n} ").repeat(n as usize * 3);
        written.extend(appended(one(&*log, append(0, n, &[], vec![post(n, &text), cancel(n)])).await));
    }
    let (tail, epoch) = (log.tail(), log.info().epoch);
    // Some twice, in no order; the first and the last post.
    let wanted = [119, 1, 41, 43, 1, 77].map(Seq).to_vec();
    assert_eq!(log.erase(wanted.clone()).await.unwrap(), 5);
    let expected = without(&written, &[1, 41, 43, 77, 119]);
    let read = read_all(&*log).await;
    assert_eq!(read, expected);
    assert!(read.iter().zip(&written).all(|(a, b)| a.hash() == b.hash() && a.body.len() == b.body.len()));
    assert!(matches!(&read[0].event, Event::Erased(e) if &*e.kind == "message.posted" && e.subjects == [id(1)]));
    for after in [0, 40, 42, 118] {
        assert_eq!(log.read(Seq(after), 1).await.unwrap(), expected[after as usize..=after as usize]);
    }
    assert_eq!((log.tail(), log.info().epoch), (tail, epoch));
    assert_eq!(log.erase(wanted).await.unwrap(), 0, "twice is once");
    assert_eq!(log.erase(vec![]).await.unwrap(), 0);
    assert_eq!(read_all(&*log).await, expected);
    let next = appended(one(&*log, append(120, 99, &[1], vec![post(61, "after")])).await);
    assert_eq!((next[0].header.seq, read_all(&*log).await.len()), (Seq(121), 121), "it goes on");
    assert_eq!(log.erase(vec![Seq(121)]).await.unwrap(), 1, "the newest");
    assert_eq!(log.read(Seq(120), 9).await.unwrap(), without(&next, &[121]));
}

pub(crate) async fn what_cannot_be_erased_is_refused_and_nothing_is_erased(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    appended(one(&*log, append(0, 1, &[], vec![post(1, "a"), post(2, "b")])).await);
    let short = Event::Unknown(Unknown { kind: "a.short".into(), data: Bytes::from_static(b"x"), subjects: vec![] });
    appended(one(&*log, append(0, 2, &[], vec![Draft::new(None, short, [1; 16]).unwrap()])).await);
    let written = read_all(&*log).await;
    for bad in
        [vec![Seq(1), Seq::ZERO], vec![Seq(1), Seq(4)], vec![Seq(1), Seq(3)], vec![Seq(1); crate::log::ERASE_MAX + 1]]
    {
        assert!(matches!(log.erase(bad.clone()).await, Err(Error::Invalid(_))), "{bad:?}");
    }
    assert_eq!(read_all(&*log).await, written);
    log.close().await.unwrap();
    assert!(matches!(log.erase(vec![Seq(1)]).await, Err(Error::Closed)));
}

pub(crate) async fn a_missed_entry_that_was_erased_comes_without_its_body(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let written = appended(one(&*log, append(0, 1, &[], vec![post(1, "a"), post(2, "b")])).await);
    log.erase(vec![Seq(1)]).await.unwrap();
    let Verdict::Conflict(missed) = one(&*log, append(0, 2, &[1], vec![cancel(1)])).await else {
        panic!("no conflict")
    };
    assert_eq!(missed, without(&written, &[1]));
}

pub(crate) async fn erasing_beside_appends_loses_none_of_them(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    for n in 0..100 {
        appended(one(&*log, append(0, 1, &[], vec![post(n, "before")])).await);
    }
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for n in 100..400 {
                appended(one(&*log, append(0, 1, &[], vec![post(n, "beside")])).await);
            }
        }
    });
    let erasers = [1u64, 2].map(|first| {
        let log = log.clone();
        tokio::spawn(async move {
            let positions: Vec<_> = (first..=100).step_by(10).map(Seq).collect();
            loop {
                // On a log that others share one of the two may have to wait for the other.
                match log.erase(positions.clone()).await {
                    Ok(_) => return,
                    Err(Error::Full(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    writer.await.unwrap();
    for eraser in erasers {
        eraser.await.unwrap();
    }
    let read = read_all(&*log).await;
    assert!(read.iter().map(|e| e.header.seq.0).eq(1..=400));
    let gone = |e: &Arc<Entry>| matches!(e.event, Event::Erased(_));
    assert!(read.iter().all(|e| gone(e) == (e.header.seq.0 <= 100 && matches!(e.header.seq.0 % 10, 1 | 2))));
}
