//! One webhook on one partition: what it is to get, in which order, and what becomes of it. A state without clock, network
//! or log, so that each way it can go is a test.
//!
//! One signal at a time is at the receiver. One that fails waits for its next time, and others pass it; but after a few
//! failures in a row no fresh one is sent until one of those that wait gets through, so that a dead receiver costs
//! little, and what it missed stays in `signals` and not here.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    backoff::Schedule,
    body::Heading,
    book::Standing,
    definition::Webhook,
    deliver::Outcome,
    record::{
        ATTEMPT_SLOTS, At, Attempt, AttemptResult, DEAD_SLOTS, Dead, Delivery, Key, Resend,
        message, tombstone,
    },
};
use crate::log::{Append, MessageRef, Offset};

/// Failures in a row after which the receiver is thought to be away.
const AWAY_AFTER: u32 = 3;

/// Signals that wait for their first attempt, and those that wait for a further one; the rest stays in the log.
const MAX_READY: usize = 128;
const MAX_DUE: usize = 100;

/// See the file's head.
pub(super) struct Lane {
    webhook: Arc<Webhook>,
    partition: u32,
    /// Whether anything is to be sent.
    open: bool,
    /// The first message of `signals` that was not looked at.
    next: Offset,
    ready: VecDeque<Delivery>,
    in_flight: Option<InFlight>,
    dues: BTreeMap<String, Delivery>,
    /// In a row.
    failures: u32,
    delivered: u64,
    attempts: u64,
    dead_letters: u64,
    /// Signals in the slots of dead letters.
    dead: BTreeMap<u64, String>,
    /// Requests that were taken up and may still be seen.
    resent: HashSet<(String, i64)>,
    written: Option<At>,
}

struct InFlight {
    delivery: Delivery,
    is_due: bool,
}

impl Lane {
    /// Goes on where it stands, or begins. `position` is the group's at the takeover.
    pub(super) fn new(
        webhook: Arc<Webhook>,
        partition: u32,
        standing: &Standing,
        position: Offset,
    ) -> Self {
        let at = standing.at.filter(|at| at.epoch == webhook.epoch);
        let since = webhook.since.get(partition as usize).copied();
        let next = match at {
            Some(at) => at.next.unwrap_or(position),
            None => since.unwrap_or(position),
        };
        let newest = |n: Option<u64>| n.map_or(0, |n| n + 1);
        Self {
            partition,
            open: true,
            next,
            ready: VecDeque::new(),
            in_flight: None,
            dues: standing.dues.clone(),
            failures: if standing.dues.is_empty() {
                0
            } else {
                AWAY_AFTER - 1
            },
            delivered: standing.at.map_or(0, |at| at.delivered),
            attempts: newest(standing.attempts.values().map(|a| a.n).max()),
            dead_letters: newest(standing.dead.values().map(|d| d.n).max()),
            dead: (standing.dead.iter())
                .map(|(slot, dead)| (*slot, dead.signal.clone()))
                .collect(),
            resent: HashSet::new(),
            written: at,
            webhook,
        }
    }

    /// Follows the definition: changes are taken over, an end buries what waits, and a new beginning is at the end of
    /// `signals` as it was then.
    pub(super) fn follow(
        &mut self,
        webhook: &Arc<Webhook>,
        open: bool,
        now_ms: i64,
        records: &mut Vec<Append>,
    ) {
        let begins = self.webhook.epoch != webhook.epoch;
        if self.open && (begins || !open) {
            self.close(now_ms, "the webhook was disabled", records);
        }
        if open && begins {
            let since = webhook.since.get(self.partition as usize);
            self.next = since.copied().unwrap_or(self.next);
            self.failures = 0;
            self.written = None;
        }
        self.open = open && (begins || self.open);
        self.webhook = webhook.clone();
    }

    pub(super) fn webhook(&self) -> &Arc<Webhook> {
        &self.webhook
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// The first message that it has not looked at.
    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    pub(super) fn due_count(&self) -> usize {
        self.dues.len()
    }

    const fn is_away(&self) -> bool {
        self.failures >= AWAY_AFTER
    }

    /// Whether there is room for what is older than the newest.
    pub(super) fn wants_older(&self) -> bool {
        self.open
            && !self.is_stuck()
            && self.dues.len() < MAX_DUE
            && self.ready.len() <= MAX_READY / 4
    }

    /// Whether those that wait are to find out first whether the receiver is back.
    fn is_stuck(&self) -> bool {
        self.is_away() && !self.dues.is_empty()
    }

    /// Shows it the message at `next`, or behind it where there is none. False where there is no room now.
    pub(super) fn offer(
        &mut self,
        heading: &Heading<'_>,
        message: &MessageRef<'_>,
        schedule: Schedule,
    ) -> bool {
        if message.offset < self.next {
            return true;
        }
        if self.open && self.webhook.wants(heading) {
            if self.is_stuck() || self.ready.len() >= MAX_READY || self.dues.len() >= MAX_DUE {
                return false;
            }
            let Ok(json) = serde_json::from_slice(message.value) else {
                self.next = message.offset + 1;
                return true;
            };
            self.ready.push_back(Delivery {
                signal: heading.id.to_string(),
                position: message.offset,
                failures: 0,
                first_ms: message.timestamp_ms,
                until_ms: schedule.until_ms(message.timestamp_ms),
                next_ms: 0,
                json,
            });
        }
        self.next = message.offset + 1;
        true
    }

    /// Passes over what holds no message.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        self.next = self.next.max(offset);
    }

    /// What is to be sent now, if anything. What is too old by now becomes a dead letter without being sent.
    pub(super) fn pick(&mut self, now_ms: i64, records: &mut Vec<Append>) -> Option<Delivery> {
        if self.in_flight.is_some() || !self.open {
            return None;
        }
        let due = self.dues.values().filter(|due| due.next_ms <= now_ms);
        let due = due.min_by_key(|due| (due.next_ms, due.position)).cloned();
        if let Some(delivery) = due {
            return Some(self.start(delivery, true));
        }
        if self.is_stuck() {
            return None;
        }
        while let Some(delivery) = self.ready.pop_front() {
            if delivery.until_ms > now_ms {
                return Some(self.start(delivery, false));
            }
            let cause = "its time was over before it was its turn".to_owned();
            self.bury(&delivery, now_ms, cause, records);
        }
        None
    }

    fn start(&mut self, delivery: Delivery, is_due: bool) -> Delivery {
        self.in_flight = Some(InFlight {
            delivery: delivery.clone(),
            is_due,
        });
        delivery
    }

    /// When `pick` may have something that it has not now.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.dues.values().map(|due| due.next_ms).min()
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Takes in what became of a signal that was picked; none where it was ended meanwhile, which is recorded already.
    pub(super) fn finish(
        &mut self,
        signal: &str,
        outcome: &Outcome,
        (schedule, chance): (Schedule, f64),
        records: &mut Vec<Append>,
    ) -> Option<AttemptResult> {
        let taken = self.in_flight.take_if(|f| f.delivery.signal == signal);
        let InFlight {
            mut delivery,
            is_due,
        } = taken?;
        let now_ms = outcome.ended_ms();
        if outcome.is_delivered() {
            self.delivered += 1;
            self.remove_due(&delivery.signal, is_due, records);
            self.note(&delivery, outcome, AttemptResult::Delivered, None, records);
            if self.is_away() {
                // It is back: what waits need not wait longer.
                self.dues.values_mut().for_each(|due| due.next_ms = now_ms);
            }
            self.failures = 0;
            return Some(AttemptResult::Delivered);
        }
        self.failures = self.failures.saturating_add(1);
        delivery.failures = delivery.failures.saturating_add(1);
        let wait = schedule.wait(delivery.failures, outcome.retry_after, chance);
        let next_ms = now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        if outcome.is_gone() || next_ms > delivery.until_ms {
            self.remove_due(&delivery.signal, is_due, records);
            self.note(&delivery, outcome, AttemptResult::Dead, None, records);
            self.bury(&delivery, now_ms, outcome.in_words(), records);
            Some(AttemptResult::Dead)
        } else {
            self.note(
                &delivery,
                outcome,
                AttemptResult::Retry,
                Some(next_ms),
                records,
            );
            delivery.next_ms = next_ms;
            let key = Key::Due(&delivery.signal);
            records.push(message(self.partition, &self.webhook.id, key, &delivery));
            self.dues.insert(delivery.signal.clone(), delivery);
            Some(AttemptResult::Retry)
        }
    }

    /// Sends a dead letter again, from now on as if it were fresh.
    pub(super) fn resend(
        &mut self,
        request: &Resend,
        now_ms: i64,
        schedule: Schedule,
        records: &mut Vec<Append>,
    ) {
        if !self
            .resent
            .insert((request.signal.clone(), request.time_ms))
        {
            return;
        }
        let (partition, id) = (self.partition, self.webhook.id.clone());
        records.push(tombstone(partition, &id, Key::Resend(&request.signal)));
        for slot in self.slots_of(&request.signal) {
            records.push(tombstone(partition, &id, Key::Dead(slot)));
            self.dead.remove(&slot);
        }
        let delivery = Delivery {
            signal: request.signal.clone(),
            position: request.position,
            failures: 0,
            first_ms: now_ms,
            until_ms: schedule.until_ms(now_ms),
            next_ms: now_ms,
            json: request.json.clone(),
        };
        records.push(message(
            partition,
            &id,
            Key::Due(&request.signal),
            &delivery,
        ));
        self.dues.insert(request.signal.clone(), delivery);
    }

    fn slots_of(&self, signal: &str) -> Vec<u64> {
        let of = self.dead.iter().filter(|(_, dead)| *dead == signal);
        of.map(|(slot, _)| *slot).collect()
    }

    /// Forgets requests that are seen no more.
    pub(super) fn forget_resent(&mut self, still_seen: &BTreeMap<String, Resend>) {
        self.resent.retain(|(signal, time_ms)| {
            still_seen
                .get(signal)
                .is_some_and(|r| r.time_ms == *time_ms)
        });
    }

    /// Ends all that waits, because nothing is to be sent any more.
    pub(super) fn close(&mut self, now_ms: i64, cause: &str, records: &mut Vec<Append>) {
        self.open = false;
        if let Some(sent) = self.in_flight.take_if(|f| !f.is_due) {
            self.bury(&sent.delivery, now_ms, cause.to_owned(), records);
        }
        self.in_flight = None;
        for signal in self.dues.keys().cloned().collect::<Vec<_>>() {
            if let Some(delivery) = self.remove_due(&signal, true, records) {
                self.bury(&delivery, now_ms, cause.to_owned(), records);
            }
        }
        while let Some(delivery) = self.ready.pop_front() {
            self.bury(&delivery, now_ms, cause.to_owned(), records);
        }
    }

    /// Where it stands, where that is not written yet.
    pub(super) fn stand(&mut self, tail: Offset) -> Option<Append> {
        if !self.open {
            return None;
        }
        let fresh = self.in_flight.as_ref().filter(|f| !f.is_due);
        let waiting = fresh.map(|f| &f.delivery).or_else(|| self.ready.front());
        let next = waiting.map_or(self.next, |delivery| delivery.position);
        let at = At {
            epoch: self.webhook.epoch,
            next: (next != tail).then_some(next),
            delivered: self.delivered,
        };
        (self.written != Some(at)).then(|| {
            self.written = Some(at);
            message(self.partition, &self.webhook.id, Key::At, &at)
        })
    }

    fn remove_due(
        &mut self,
        signal: &str,
        is_due: bool,
        records: &mut Vec<Append>,
    ) -> Option<Delivery> {
        if is_due {
            let key = Key::Due(signal);
            records.push(tombstone(self.partition, &self.webhook.id, key));
        }
        self.dues.remove(signal)
    }

    fn note(
        &mut self,
        delivery: &Delivery,
        outcome: &Outcome,
        result: AttemptResult,
        next_ms: Option<i64>,
        records: &mut Vec<Append>,
    ) {
        let delivered = result == AttemptResult::Delivered;
        let attempt = Attempt {
            n: self.attempts,
            signal: delivery.signal.clone(),
            attempt: delivery.failures + u32::from(delivered),
            time_ms: outcome.began_ms,
            duration_ms: u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
            status: outcome.status,
            error: (!delivered).then(|| outcome.in_words()),
            result,
            next_ms,
        };
        let slot = self.attempts % ATTEMPT_SLOTS;
        self.attempts += 1;
        let key = Key::Attempt(slot);
        records.push(message(self.partition, &self.webhook.id, key, &attempt));
    }

    fn bury(&mut self, delivery: &Delivery, now_ms: i64, cause: String, records: &mut Vec<Append>) {
        let dead = Dead {
            n: self.dead_letters,
            signal: delivery.signal.clone(),
            position: delivery.position,
            attempts: delivery.failures,
            time_ms: now_ms,
            cause,
        };
        let slot = self.dead_letters % DEAD_SLOTS;
        self.dead_letters += 1;
        self.dead.insert(slot, dead.signal.clone());
        let key = Key::Dead(slot);
        records.push(message(self.partition, &self.webhook.id, key, &dead));
    }
}

#[cfg(test)]
mod tests;
