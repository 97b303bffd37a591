//! A lane by itself: each way that a delivery can go.

use std::time::Duration;

use super::*;
use crate::{
    log::{Messages, Topic},
    notify::definition::Format,
};

const SCHEDULE: Schedule = Schedule {
    first: Duration::from_secs(1),
    retry_for: Duration::from_secs(60),
};

fn webhook(epoch: u64, since: Offset) -> Arc<Webhook> {
    Arc::new(Webhook {
        id: "wh_1".to_owned(),
        url: "https://example.com/".to_owned(),
        description: String::new(),
        format: Format::Standard,
        symbols: None,
        strategies: None,
        side: None,
        enabled: true,
        secret: "whsec_AAAA".to_owned(),
        version: epoch,
        epoch,
        since: vec![since],
        created_ms: 0,
    })
}

fn lane(tail: Offset) -> Lane {
    Lane::new(webhook(1, tail), 0, &Standing::default(), tail)
}

/// Shows the lane the signals at these offsets, committed at time 0; tells at which it had no room.
fn offer(lane: &mut Lane, offsets: std::ops::Range<Offset>) -> Option<Offset> {
    let mut messages = Messages::new();
    for offset in offsets {
        let json =
            format!(r#"{{"id":"s:0:{offset}:0:0","symbol":"A","strategy":"s","side":"buy"}}"#);
        messages.push(Topic::Signals, 0, offset, 0, b"A", json.as_bytes(), []);
    }
    messages.iter().find_map(|message| {
        let heading = serde_json::from_slice(message.value).unwrap();
        (!lane.offer(&heading, &message, SCHEDULE)).then_some(message.offset)
    })
}

fn outcome(status: u16, began_ms: i64) -> Outcome {
    Outcome {
        began_ms,
        duration: Duration::ZERO,
        status: Some(status),
        error: None,
        retry_after: None,
    }
}

/// Picks and answers, at a time; gives the offset of what was picked.
fn turn(lane: &mut Lane, status: u16, now_ms: i64, records: &mut Vec<Append>) -> Option<Offset> {
    let delivery = lane.pick(now_ms, records)?;
    lane.finish(
        &delivery.signal,
        &outcome(status, now_ms),
        (SCHEDULE, 0.0),
        records,
    );
    Some(delivery.position)
}

fn keys(records: &[Append]) -> Vec<(String, bool)> {
    let key = |append: &Append| {
        let text = String::from_utf8(append.key.clone()).unwrap();
        (text, !append.value.is_empty())
    };
    records.iter().map(key).collect()
}

#[test]
fn signals_go_out_one_at_a_time_in_their_order() {
    let (mut lane, mut records) = (lane(5), Vec::new());
    assert_eq!(offer(&mut lane, 5..8), None);
    let first = lane.pick(0, &mut records).unwrap();
    assert_eq!(first.position, 5);
    assert!(
        lane.pick(0, &mut records).is_none(),
        "one is at the receiver"
    );
    lane.finish(
        &first.signal,
        &outcome(200, 1),
        (SCHEDULE, 0.0),
        &mut records,
    );
    assert_eq!(turn(&mut lane, 204, 2, &mut records), Some(6));
    assert_eq!(turn(&mut lane, 299, 3, &mut records), Some(7));
    assert_eq!(turn(&mut lane, 200, 4, &mut records), None);
    let attempts: Vec<_> = (0..3)
        .map(|n| (format!("wh_1/attempt/{n}"), true))
        .collect();
    assert_eq!(keys(&records), attempts);
}

#[test]
fn one_that_fails_lets_others_pass_and_has_its_time() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    offer(&mut lane, 0..2);
    assert_eq!(turn(&mut lane, 500, 0, &mut records), Some(0));
    assert_eq!(turn(&mut lane, 200, 1, &mut records), Some(1));
    assert_eq!(turn(&mut lane, 200, 999, &mut records), None);
    assert_eq!(lane.next_ms(), Some(1000));
    assert_eq!(turn(&mut lane, 200, 1000, &mut records), Some(0));
    assert!(keys(&records).contains(&("wh_1/due/s:0:0:0:0".to_owned(), false)));
    assert_eq!(lane.due_count(), 0);
}

#[test]
fn a_receiver_that_is_away_is_asked_by_what_waits_and_gets_the_rest_when_it_is_back() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    offer(&mut lane, 0..10);
    for n in 0..3 {
        assert_eq!(turn(&mut lane, 503, 0, &mut records), Some(n));
    }
    assert_eq!(turn(&mut lane, 503, 0, &mut records), None, "no fresh one");
    assert_eq!(offer(&mut lane, 10..11), Some(10), "and none is taken in");
    assert!(!lane.wants_older());
    assert_eq!(turn(&mut lane, 503, 1000, &mut records), Some(0));
    assert_eq!(turn(&mut lane, 200, 1000, &mut records), Some(1));
    // All that waits is tried at once.
    assert_eq!(turn(&mut lane, 200, 1000, &mut records), Some(0));
    assert_eq!(turn(&mut lane, 200, 1000, &mut records), Some(2));
    for n in 3..10 {
        assert_eq!(turn(&mut lane, 200, 1000, &mut records), Some(n));
    }
    assert_eq!(lane.next(), 10);
    assert!(lane.wants_older());
}

#[test]
fn what_would_be_tried_too_late_is_dead_and_so_is_what_waited_too_long() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    offer(&mut lane, 0..3);
    let mut now_ms = 0;
    while lane.due_count() > 0 || now_ms == 0 {
        turn(&mut lane, 500, now_ms, &mut records);
        now_ms = lane.next_ms().unwrap_or(now_ms + 1);
    }
    assert!(now_ms < 60_000);
    assert_eq!(turn(&mut lane, 200, 60_000, &mut records), None);
    let dead: Vec<_> = keys(&records)
        .into_iter()
        .filter(|(key, _)| key.contains("/dead/"))
        .collect();
    assert_eq!(dead, [0, 1, 2].map(|n| (format!("wh_1/dead/{n}"), true)));
    let last: Dead = serde_json::from_slice(&records.last().unwrap().value).unwrap();
    assert_eq!(last.cause, "its time was over before it was its turn");
}

#[test]
fn there_is_room_for_so_many_and_what_has_none_is_offered_again() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    let refused = offer(&mut lane, 0..1000);
    assert_eq!(
        (refused, lane.next()),
        (Some(MAX_READY as u64), MAX_READY as u64)
    );
    assert!(!lane.wants_older());
    for n in 0..MAX_READY as u64 {
        assert_eq!(turn(&mut lane, 200, 0, &mut records), Some(n));
    }
    assert_eq!(
        offer(&mut lane, 0..200),
        None,
        "those that it has seen are passed over"
    );
    assert_eq!(lane.next(), 200);
    assert_eq!(turn(&mut lane, 200, 0, &mut records), Some(128));
}

#[test]
fn it_stands_at_the_first_signal_of_which_nothing_is_recorded() {
    let (mut lane, mut records) = (lane(3), Vec::new());
    let at = |lane: &mut Lane, tail| {
        let append = lane.stand(tail)?;
        Some(serde_json::from_slice::<At>(&append.value).unwrap().next)
    };
    assert_eq!(at(&mut lane, 3), Some(None), "at the position itself");
    assert_eq!(at(&mut lane, 3), None, "and that is written");
    offer(&mut lane, 3..5);
    assert_eq!(at(&mut lane, 5), Some(Some(3)));
    turn(&mut lane, 500, 0, &mut records);
    assert_eq!(
        at(&mut lane, 5),
        Some(Some(4)),
        "what is due is recorded by itself"
    );
    lane.pick(0, &mut records);
    assert_eq!(
        at(&mut lane, 5),
        None,
        "what is at the receiver is not done"
    );
    lane.finish("s:0:4:0:0", &outcome(200, 0), (SCHEDULE, 0.0), &mut records);
    assert_eq!(at(&mut lane, 5), Some(None));
}

#[test]
fn another_owner_goes_on_from_what_is_recorded() {
    let (mut one, mut records) = (lane(0), Vec::new());
    offer(&mut one, 0..4);
    turn(&mut one, 500, 0, &mut records);
    turn(&mut one, 200, 0, &mut records);
    records.extend(one.stand(4));
    let mut pages = crate::notify::book::Pages::new(1);
    let mut messages = Messages::new();
    for (n, record) in (0..).zip(&records) {
        messages.push(Topic::Deliveries, 0, n, 0, &record.key, &record.value, []);
    }
    messages.iter().for_each(|message| pages.take(&message));
    let standing = &pages.standings[0]["wh_1"];
    let mut other = Lane::new(webhook(1, 0), 0, standing, 4);
    assert_eq!((other.next(), other.due_count()), (2, 1));
    offer(&mut other, 0..4);
    assert_eq!(turn(&mut other, 200, 1000, &mut records), Some(0));
    assert_eq!(turn(&mut other, 200, 1000, &mut records), Some(2));
}

#[test]
fn an_end_buries_what_waits_and_a_new_beginning_is_later() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    offer(&mut lane, 0..4);
    turn(&mut lane, 500, 0, &mut records);
    let sent = lane.pick(0, &mut records).unwrap();
    lane.follow(&webhook(1, 0), false, 5, &mut records);
    assert_eq!(lane.due_count(), 0);
    let dead = keys(&records)
        .into_iter()
        .filter(|(key, _)| key.contains("/dead/"))
        .count();
    assert_eq!(dead, 4);
    let late = lane.finish(
        &sent.signal,
        &outcome(200, 6),
        (SCHEDULE, 0.0),
        &mut records,
    );
    assert_eq!(late, None, "it is recorded as dead already");
    assert_eq!(offer(&mut lane, 4..9), None);
    assert!(lane.pick(7, &mut records).is_none());
    lane.follow(&webhook(2, 8), true, 8, &mut records);
    offer(&mut lane, 0..10);
    assert_eq!(turn(&mut lane, 200, 9, &mut records), Some(8));
}

#[test]
fn a_dead_letter_that_is_sent_again_is_dead_no_more_and_taken_up_once() {
    let (mut lane, mut records) = (lane(0), Vec::new());
    offer(&mut lane, 0..1);
    turn(&mut lane, 410, 0, &mut records);
    let request = Resend {
        signal: "s:0:0:0:0".to_owned(),
        position: 0,
        time_ms: 70_000,
        json: serde_json::value::to_raw_value("x").unwrap().into(),
    };
    records.clear();
    for _ in 0..2 {
        lane.resend(&request, 70_000, SCHEDULE, &mut records);
    }
    let wanted = [
        ("resend/s:0:0:0:0", false),
        ("dead/0", false),
        ("due/s:0:0:0:0", true),
    ];
    assert_eq!(
        keys(&records),
        wanted.map(|(key, is)| (format!("wh_1/{key}"), is))
    );
    assert_eq!(turn(&mut lane, 200, 70_000, &mut records), Some(0));
    lane.forget_resent(&BTreeMap::new());
    assert!(lane.resent.is_empty());
}
