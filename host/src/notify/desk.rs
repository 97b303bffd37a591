//! One partition of `signals` that is ours: all webhooks on it, what is at their receivers, and what of it is to be
//! recorded. It sends and reads by tasks of their own and hears of them by events, so that no receiver holds another up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender as Events, channel},
    },
    time::Duration,
};

use super::{
    Options,
    body::Heading,
    book::{Book, Gone, Standing, gone_message},
    catch_up::{Chunk, Request, read},
    deliver::{Outcome, Sender},
    lane::Lane,
    record::{AttemptResult, tombstone},
};
use crate::{
    control::{Actor, AuditAction, AuditEntry},
    ingest::Clock,
    log::{Append, Log, LogError, MessageRef, Messages, Offset, Reader, Topic},
};

/// While so much is not committed, nothing more is sent.
const MAX_RECORDS: usize = 1_000;

/// How often what a removed webhook left is looked for.
const TIDY_EVERY_MS: i64 = 1_000;

/// What all partitions of the process have in common.
pub(super) struct Office {
    pub(super) log: Arc<dyn Log>,
    pub(super) book: Arc<Book>,
    pub(super) sender: Sender,
    pub(super) options: Options,
    pub(super) clock: Clock,
    pub(super) runtime: tokio::runtime::Handle,
    /// Until when a receiver wants nothing, by webhook, milliseconds since the epoch.
    pub(super) holds: Mutex<BTreeMap<String, i64>>,
}

impl Office {
    pub(super) fn now_ms(&self) -> i64 {
        ((self.clock)() * 1000.0) as i64
    }

    fn hold(&self, webhook: &str, until_ms: i64) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let held = holds.entry(webhook.to_owned()).or_default();
        *held = until_ms.max(*held);
    }

    fn held_until(&self, webhook: &str) -> i64 {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.get(webhook).copied().unwrap_or(0)
    }
}

/// What a desk hears.
pub(super) enum Event {
    /// An attempt has ended.
    Sent {
        webhook: String,
        signal: String,
        outcome: Outcome,
    },
    /// What a webhook had missed was read.
    Read(Chunk),
}

/// See the file's head.
pub(super) struct Desk {
    office: Arc<Office>,
    partition: u32,
    lanes: BTreeMap<String, Lane>,
    records: Vec<Append>,
    /// The group's position at the takeover: where those stand that were there at the last step of the owner before.
    began: Offset,
    /// The group's next message of `signals`.
    tail: Offset,
    events: (Events<Event>, Receiver<Event>),
    /// Whether a webhook's past is being read, and the reader that stands where the last one ended.
    is_reading: bool,
    reader: Option<(Offset, Box<dyn Reader>)>,
    /// Whose past was read last: they take turns.
    read_last: String,
    book_changed: tokio::sync::watch::Receiver<u64>,
    tidied_ms: i64,
}

impl Desk {
    pub(super) fn new(office: Arc<Office>, partition: u32, tail: Offset) -> Self {
        let mut book_changed = office.book.changes();
        book_changed.mark_changed();
        Self {
            office,
            partition,
            lanes: BTreeMap::new(),
            records: Vec::new(),
            began: tail,
            tail,
            events: channel(),
            is_reading: false,
            reader: None,
            read_last: String::new(),
            book_changed,
            tidied_ms: 0,
        }
    }

    pub(super) const fn tail(&self) -> Offset {
        self.tail
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_reading || self.lanes.values().any(Lane::is_busy)
    }

    pub(super) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Follows the definitions, and takes up what is to be sent again.
    pub(super) fn sync(&mut self) {
        let now_ms = self.office.now_ms();
        let tidy = now_ms - self.tidied_ms >= TIDY_EVERY_MS;
        if !self.book_changed.has_changed().unwrap_or(false) && !tidy {
            return;
        }
        self.book_changed.mark_unchanged();
        let book = self.office.book.clone();
        let pages = book.pages();
        let nothing = Standing::default();
        let standings = &pages.standings[self.partition as usize];
        for (id, webhook) in &pages.webhooks {
            let standing = standings.get(id).unwrap_or(&nothing);
            let make = || Lane::new(webhook.clone(), self.partition, standing, self.began);
            let lane = self.lanes.entry(id.clone()).or_insert_with(make);
            let open = pages.is_open(webhook);
            lane.follow(webhook, open, now_ms, &mut self.records);
            lane.forget_resent(&standing.resends);
            for request in standing.resends.values() {
                lane.resend(
                    request,
                    now_ms,
                    self.office.options.schedule,
                    &mut self.records,
                );
            }
        }
        self.lanes.retain(|id, _| pages.webhooks.contains_key(id));
        if tidy {
            self.tidied_ms = now_ms;
            let left = standings
                .iter()
                .filter(|(id, _)| !pages.webhooks.contains_key(*id));
            for (id, standing) in left {
                let keys = standing.keys();
                let removed = keys.map(|key| tombstone(self.partition, id, key));
                self.records.extend(removed);
            }
        }
    }

    /// Takes in the newest messages of `signals`.
    pub(super) fn take(&mut self, messages: &Messages) {
        for message in messages.iter() {
            // Without webhooks there is nobody for whom it need be read.
            if !self.lanes.is_empty()
                && let Some(heading) = heading(&message)
            {
                let schedule = self.office.options.schedule;
                for lane in self.lanes.values_mut().filter(|l| l.next() >= self.tail) {
                    lane.offer(&heading, &message, schedule);
                }
            }
            self.tail = message.offset + 1;
        }
    }

    /// Waits so long for what has ended, and takes it in.
    pub(super) fn hear(&mut self, wait: Duration) {
        let first = match self.events.1.recv_timeout(wait) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        };
        self.take_event(first);
        while let Ok(event) = self.events.1.try_recv() {
            self.take_event(event);
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Sent {
                webhook,
                signal,
                outcome,
            } => self.take_outcome(&webhook, &signal, &outcome),
            Event::Read(chunk) => {
                self.is_reading = false;
                self.take_chunk(chunk);
            }
        }
    }

    fn take_outcome(&mut self, id: &str, signal: &str, outcome: &Outcome) {
        if let Some(asked) = outcome.retry_after {
            let now_ms = outcome.ended_ms();
            let wait = self.office.options.schedule.wait(1, Some(asked), 0.0);
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            self.office.hold(id, now_ms.saturating_add(wait_ms));
        }
        let Some(lane) = self.lanes.get_mut(id) else {
            return;
        };
        let chance = rand::random_range(0.0..=1.0);
        let schedule = (self.office.options.schedule, chance);
        if let Some(result) = lane.finish(signal, outcome, schedule, &mut self.records) {
            let label = match result {
                AttemptResult::Delivered => "delivered",
                AttemptResult::Retry => "retry",
                AttemptResult::Dead => "dead",
            };
            metrics::counter!("wigwag_notify_attempts_total", "webhook" => id.to_owned(), "result" => label)
                .increment(1);
            metrics::histogram!("wigwag_notify_attempt_seconds")
                .record(outcome.duration.as_secs_f64());
            if outcome.is_gone() {
                self.end(id, outcome);
            }
        }
    }

    /// Ends a webhook whose receiver wants nothing any more, for all partitions.
    fn end(&mut self, id: &str, outcome: &Outcome) {
        let Some(lane) = self.lanes.get_mut(id) else {
            return;
        };
        let time_ms = outcome.ended_ms();
        let epoch = lane.webhook().epoch;
        lane.close(time_ms, "the receiver answered 410 Gone", &mut self.records);
        self.records.push(gone_message(id, Gone { epoch, time_ms }));
        let answer = "disabled: the receiver answered 410 Gone".to_owned();
        let entry = AuditEntry::new(
            &Actor::service(),
            AuditAction::DisableWebhook,
            id,
            None,
            Ok(answer),
        );
        self.records.push(entry.message());
        tracing::warn!(
            webhook = id,
            "webhook disabled: the receiver answered 410 Gone"
        );
    }

    fn take_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            webhook,
            from,
            messages,
            reader,
        } = chunk;
        let schedule = self.office.options.schedule;
        let Some(lane) = self.lanes.get_mut(&webhook).filter(|l| l.next() == from) else {
            return;
        };
        for message in messages.iter() {
            if message.offset >= self.tail {
                break;
            }
            match heading(&message) {
                Some(heading) if !lane.offer(&heading, &message, schedule) => return,
                Some(_) => {}
                None => lane.skip_to(message.offset + 1),
            }
        }
        match reader {
            Ok(reader) => {
                let position = reader.position(Topic::Signals, self.partition);
                lane.skip_to(position.min(self.tail));
                if position < self.tail {
                    self.reader = Some((position, reader));
                }
            }
            Err(LogError::Gone { start, .. }) => {
                let lost = start.saturating_sub(from);
                tracing::error!(
                    webhook,
                    partition = self.partition,
                    lost,
                    "retention removed signals before a webhook looked at them"
                );
                metrics::counter!("wigwag_notify_gone_total").increment(lost);
                lane.skip_to(start.min(self.tail));
            }
            // The next turn asks again.
            Err(error) => {
                tracing::debug!(webhook, partition = self.partition, %error, "what a webhook missed is not read");
            }
        }
    }

    /// Reads what one of those that are behind has missed.
    pub(super) fn catch_up(&mut self) {
        if self.is_reading {
            return;
        }
        let tail = self.tail;
        let is_behind = |lane: &Lane| lane.next() < tail && lane.wants_older();
        let behind = self.lanes.iter().filter(|(_, lane)| is_behind(lane));
        let behind: Vec<_> = behind.map(|(id, lane)| (id.clone(), lane.next())).collect();
        let after = behind.iter().find(|(id, _)| *id > self.read_last);
        let Some((webhook, from)) = after.or_else(|| behind.first()).cloned() else {
            self.reader = None;
            return;
        };
        self.read_last.clone_from(&webhook);
        let reader = self
            .reader
            .take()
            .filter(|(at, _)| *at == from)
            .map(|(_, reader)| reader);
        let (log, events, partition) = (
            self.office.log.clone(),
            self.events.0.clone(),
            self.partition,
        );
        self.is_reading = true;
        self.office.runtime.spawn_blocking(move || {
            let request = Request {
                webhook,
                partition,
                from,
                reader,
            };
            read(&*log, request, &events);
        });
    }

    /// Sends what is due, one to each webhook that waits for none. Says when there is more.
    pub(super) fn send(&mut self) -> Option<Duration> {
        let now_ms = self.office.now_ms();
        let mut next_ms = i64::MAX;
        for (id, lane) in &mut self.lanes {
            if lane.is_busy() || !lane.is_open() || self.records.len() >= MAX_RECORDS {
                continue;
            }
            let held_ms = self.office.held_until(id);
            if held_ms > now_ms {
                next_ms = next_ms.min(held_ms);
                continue;
            }
            let Some(delivery) = lane.pick(now_ms, &mut self.records) else {
                next_ms = next_ms.min(lane.next_ms().unwrap_or(i64::MAX));
                continue;
            };
            let (sender, events) = (self.office.sender.clone(), self.events.0.clone());
            let webhook = lane.webhook().clone();
            self.office.runtime.spawn(async move {
                let outcome = sender.send(&webhook, &delivery).await;
                // Nobody hears it where the partition was given up: then it is sent again by whoever has it.
                drop(events.send(Event::Sent {
                    webhook: webhook.id.clone(),
                    signal: delivery.signal,
                    outcome,
                }));
            });
        }
        let wait_ms = u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0);
        (next_ms < i64::MAX).then(|| Duration::from_millis(wait_ms))
    }

    /// All that is to be recorded by now, with where each webhook stands.
    pub(super) fn take_records(&mut self) -> Vec<Append> {
        let mut records = std::mem::take(&mut self.records);
        let tail = self.tail;
        records.extend(self.lanes.values_mut().filter_map(|lane| lane.stand(tail)));
        records
    }

    /// Numbers for operators.
    pub(super) fn publish(&self) {
        let due: usize = self.lanes.values().map(Lane::due_count).sum();
        let open = self.lanes.values().filter(|lane| lane.is_open());
        let behind = open.map(|lane| self.tail.saturating_sub(lane.next())).max();
        let partition = self.partition.to_string();
        metrics::gauge!("wigwag_notify_due", "partition" => partition.clone()).set(due as f64);
        metrics::gauge!("wigwag_notify_behind", "partition" => partition)
            .set(behind.unwrap_or(0) as f64);
    }
}

fn heading<'a>(message: &MessageRef<'a>) -> Option<Heading<'a>> {
    match serde_json::from_slice(message.value) {
        Ok(heading) => Some(heading),
        Err(error) => {
            let (partition, offset) = (message.partition, message.offset);
            tracing::error!(partition, offset, %error, "message of signals passed over");
            None
        }
    }
}
