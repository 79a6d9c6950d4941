//! Random histories, cut anywhere, offered once, twice, and by two nodes.

use super::*;

/// A world whose log is this, and whose claims promise other ids than those of the history that it was cut from.
pub(super) fn fork(entries: &[Arc<Entry>]) -> World {
    let mut world = World::new();
    world.replies_from = 1_000_000;
    for entry in entries {
        world.now_ms = entry.header.at_ms;
        world.push(entry.clone());
    }
    world
}

/// Offers a plan. Returns what was refused, and counts what each offer came to.
pub(super) fn carry_out(world: &mut World, plan: &Plan, came: &mut BTreeMap<String, u32>) -> Vec<NotRepaired> {
    let mut refused = plan.refused.clone();
    let mut take = |world: &mut World, decided: Result<Decision, Refusal>, not: &dyn Fn(&Refusal) -> NotRepaired| {
        *came.entry(letters(&decided)).or_default() += 1;
        match decided {
            Ok(Decision::Append { room, subjects, events }) => {
                assert!(events.len() <= crate::log::DRAFTS_MAX && !events.is_empty());
                let touched: BTreeSet<_> = events.iter().flat_map(Event::subjects).collect();
                assert!(touched.iter().all(|id| subjects.contains(id)), "{events:?}");
                events.iter().for_each(|event| world.append(&room, event));
            }
            Ok(_) => {}
            Err(refusal) => refused.push(not(&refusal)),
        }
    };
    for wish in &plan.restores {
        let decided = offer(world, wish);
        take(world, decided, &|why| wish.refused(why));
    }
    for (id, wish) in &plan.changes {
        let decided = change(&world.projections, &Prefetched::none(), &world.policy, *id, *wish);
        take(world, decided, &|why| refused_change(*id, *wish, why));
    }
    refused
}

/// Where messages and replies are, from the entries alone; and which replies each message got.
pub(super) fn records(entries: &[Arc<Entry>]) -> BTreeMap<MessageId, (Record, Vec<MessageId>)> {
    let mut records: BTreeMap<MessageId, (Record, Vec<MessageId>)> = BTreeMap::new();
    for entry in entries {
        for (id, change) in Changed::of(entry) {
            records.entry(id).or_default().0.apply(entry.header.seq, &change);
        }
        // Erased or not.
        if let ("reply.posted", [reply_id, message_id]) = (&*entry.header.kind, entry.header.subjects.as_slice()) {
            records.entry(*message_id).or_default().1.push(*reply_id);
        }
    }
    records
}

/// Ends of the same sort.
pub(super) fn sort_of(status: Status) -> &'static str {
    match status {
        Status::None => "none",
        Status::Waiting | Status::Claimed => "open",
        Status::Answered => "answered",
        Status::Failed | Status::Dead => "given up",
        Status::Cancelled => "cancelled",
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) history: Vec<Step>,
    /// Where the store's log ends, and how far two nodes had seen the old one.
    pub(super) at: [prop::sample::Index; 3],
    /// What people and bots do meanwhile.
    pub(super) meanwhile: [Vec<Step>; 2],
    /// What was to be erased was erased before the tail was lost.
    pub(super) acted: bool,
}

pub(super) fn cuts() -> impl Strategy<Value = Cut> {
    let meanwhile = [steps(), steps()].prop_map(|steps| steps.map(|steps| steps.into_iter().take(25).collect()));
    let at = any::<[prop::sample::Index; 3]>();
    let cut = (steps_that_erase(), at, meanwhile, any::<bool>());
    cut.prop_map(|(history, at, meanwhile, acted)| Cut { history, at, meanwhile, acted })
}

/// The lost entries that two nodes have seen, after what the store kept.
pub(super) fn cut(entries: &[Arc<Entry>], at: &[prop::sample::Index; 3]) -> [usize; 3] {
    let [kept, a, b] = at.map(|at| at.index(entries.len() + 1));
    [kept, a.max(kept), b.max(kept)]
}

/// No asking has two answers, as far as its end says: between two of them somebody asked again. And no reply is there twice.
pub(super) fn no_asking_has_two_answers(entries: &[Arc<Entry>]) {
    let (mut replies, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        match &entry.event {
            Event::ReplyPosted(e) => assert!(replies.insert(e.id), "{entry:?}"),
            Event::Erased(e) if &*e.kind == "reply.posted" => assert!(replies.insert(e.subjects[0]), "{entry:?}"),
            Event::MessageCompleted(e) => assert!(completed.insert(e.message_id), "{entry:?}"),
            Event::MessageReleased(e) => drop(completed.remove(&e.message_id)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_node_brings_back_every_message_as_it_was_and_offering_twice_changes_nothing(case in cuts()) {
        let mut entries = history(&case.history);
        let [kept, _, seen] = cut(&entries, &case.at);
        if case.acted {
            entries = erased(&entries[..seen]);
        }
        let before = records(&entries[..seen]);
        let mut world = fork(&entries[..kept]);
        let plan = plan(&entries[kept..seen]);
        let refused = carry_out(&mut world, &plan, &mut BTreeMap::new());
        let expected = |r: &NotRepaired| r.reason.contains("done anew") || r.reason.contains("asked again");
        prop_assert!(refused.iter().all(|r| &*r.kind == "reply.posted" && expected(r)), "{:?}", refused);
        no_asking_has_two_answers(&world.entries);
        let after = records(&world.entries);
        let unfinished = |id: &MessageId| !after.contains_key(id) && refused.len() == 1;
        for (id, (record, replies)) in &before {
            if unfinished(id) {
                continue;
            }
            let (now, replies_now) = &after[id];
            prop_assert_eq!(sort_of(now.status), sort_of(record.status), "{}", id);
            prop_assert_eq!((now.redacted, now.erased), (record.redacted, record.erased), "{}", id);
            let both = [replies_now, replies].map(BTreeSet::from_iter);
            prop_assert!(both[0] == both[1] || !refused.is_empty(), "{}", id);
        }
        for entry in &entries[kept..seen] {
            if let Event::MessagePosted(posted) = &entry.event {
                let back = world.projections.newest.posted(&posted.id).unwrap();
                prop_assert!(same(back, entry.header.room.as_ref().unwrap(), posted));
            }
        }
        let texts = before.iter().filter(|(_, (record, _))| record.erased && record.posted() > Seq(kept as u64));
        for (id, _) in texts {
            let back = world.entries[kept..].iter().find(|entry| view::posted_id(entry) == Some(*id));
            let none = back.is_none_or(|entry| view::message(entry, Epoch(1)).unwrap().text.is_empty());
            prop_assert!(none, "an erased text came back: {:?}", back);
        }
        let ends = |e: &&Arc<Entry>| matches!(&e.event, Event::MessageCompleted(_) | Event::MessageCancelled(_) | Event::MessageDead(_));
        let mut ended = BTreeSet::new();
        for entry in world.entries[kept..].iter().filter(ends) {
            prop_assert!(ended.insert(entry.header.subjects[0]), "two ends were brought back: {:?}", entry);
        }
        let tail = world.entries.len();
        let again = carry_out(&mut world, &plan, &mut BTreeMap::new());
        prop_assert_eq!((world.entries.len(), again), (tail, refused));
    }

    #[test]
    fn two_nodes_offer_in_the_midst_of_life_and_no_message_is_lost_or_answered_twice(case in cuts()) {
        let (mut world, lost) = two_nodes(&case, &mut BTreeMap::new());
        // Every worker repeats what it said last, people ask again, and both offer the same once more.
        for lost in lost.iter().rev() {
            let how = How::Completed;
            (0..MESSAGES).for_each(|message| drop(world.act(&Step::End { message, stale: false, how })));
            (0..MESSAGES).for_each(|message| drop(world.act(&Step::Change { message, change: Change::Retry })));
            carry_out(&mut world, &plan(lost), &mut BTreeMap::new());
            erased::holds(&world, &[lost]);
        }
    }
}

/// Two nodes that saw the old log up to different points offer one after the other, while work continues: the result, and
/// what each offered.
pub(super) fn two_nodes(case: &Cut, came: &mut BTreeMap<String, u32>) -> (World, [Vec<Arc<Entry>>; 2]) {
    let mut entries = history(&case.history);
    let [mut kept, a, b] = cut(&entries, &case.at);
    // A store loses whole appends. One that lost the end of an answer would have it answered again meanwhile.
    kept += usize::from(matches!(entries[..kept].last().map(|e| &e.event), Some(Event::ReplyPosted(_))));
    let (a, b) = (a.max(kept), b.max(kept));
    if case.acted {
        entries = erased(&entries);
    }
    let mut world = fork(&entries[..kept]);
    let mut refused = Vec::new();
    let lost = [&entries[kept..a], &entries[kept..b]];
    for (seen, meanwhile) in [a, b].into_iter().zip(&case.meanwhile) {
        meanwhile.iter().for_each(|step| drop(world.act(step)));
        let plan = plan(&entries[kept..seen]);
        let own = carry_out(&mut world, &plan, came);
        let report = report("n", Epoch(1), Seq(kept as u64), plan.offered(), own.clone());
        assert_eq!(report.again as usize + own.len(), plan.offered());
        refused.extend(own);
    }
    erased::holds(&world, &lost);
    let after = records(&world.entries);
    let listed = |id: &MessageId| refused.iter().any(|r| r.id == Some(*id));
    for entry in &entries[..a.max(b)] {
        match &entry.event {
            Event::MessagePosted(posted) => {
                let back = world.projections.newest.posted(&posted.id).unwrap();
                assert!(same(back, entry.header.room.as_ref().unwrap(), posted) || listed(&posted.id), "{posted:?}");
            }
            // An answer is there, or there is another one, or it is said why not.
            Event::MessageCompleted(e) => {
                assert!(after.contains_key(&e.reply_id) || listed(&e.message_id), "{e:?}");
            }
            _ => {}
        }
    }
    for n in 0..MESSAGES {
        let open = world.projections.queue.get(&id(n)).is_some();
        let record = after.get(&id(n)).map(|(record, _)| sort_of(record.status));
        assert_eq!(open, record == Some("open"), "message {n}: the queue and the records agree");
    }
    (world, lost.map(<[_]>::to_vec))
}

/// A property that holds because nothing happens would be worth nothing.
#[test]
pub(super) fn the_random_cuts_reach_every_outcome() {
    let (mut runner, mut came) = (TestRunner::deterministic(), BTreeMap::new());
    for _ in 0..1_500 {
        two_nodes(&cuts().new_tree(&mut runner).unwrap().current(), &mut came);
    }
    let outcomes =
        ["=", "p", "pac", "pd", "px", "pxh", "ac", "d", "x", "r", "h", "e", "xhe", "AlreadyEnded", "IdTaken", "a"];
    for outcome in outcomes {
        assert!(came.contains_key(outcome), "{outcome} is not among {came:?}");
    }
}
