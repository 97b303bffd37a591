//! The newest item of each key, and the last few in the order in which they came: who keeps up sees each, who does
//! not sees the newest of each key, once.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

/// Items that are kept in their order of arrival; about 1 MB.
const RECENT: usize = 4_096;

/// Items looked at in one call, so that the lock around a feed is held for microseconds.
const AT_ONCE: usize = 512;

/// A feed. Its items are numbered from 1.
#[derive(Default)]
pub(super) struct Feed {
    keys: HashMap<Box<[u8]>, usize>,
    latest: Vec<Item>,
    recent: VecDeque<Item>,
    newest: u64,
}

#[derive(Clone)]
pub(super) struct Item {
    number: u64,
    pub(super) symbol: Arc<str>,
    /// Empty where the feed knows no strategies.
    pub(super) strategy: Arc<str>,
    pub(super) json: Arc<[u8]>,
}

/// How far a subscriber has come.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The last item that it has seen or need not see.
    seen: u64,
    catching_up: Option<CatchUp>,
}

/// A walk over the newest of each key.
#[derive(Clone, Copy, Debug)]
struct CatchUp {
    next: usize,
    /// Newer items come by themselves afterwards.
    until: u64,
}

impl Feed {
    /// Adds an item. `names` tells the symbol and the strategy of a key that is new.
    pub(super) fn push<'n>(
        &mut self,
        key: &[u8],
        json: Arc<[u8]>,
        names: impl FnOnce() -> (&'n str, &'n str),
    ) {
        self.newest += 1;
        let number = self.newest;
        let item = match self.keys.get(key) {
            Some(&at) => {
                let latest = &mut self.latest[at];
                latest.number = number;
                latest.json = json;
                latest.clone()
            }
            None => {
                let (symbol, strategy) = names();
                let item = Item {
                    number,
                    symbol: symbol.into(),
                    strategy: strategy.into(),
                    json,
                };
                self.keys.insert(key.into(), self.latest.len());
                self.latest.push(item.clone());
                item
            }
        };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(item);
    }

    /// The place from which only what is yet to come is seen.
    pub(super) const fn end(&self) -> Place {
        Place {
            seen: self.newest,
            catching_up: None,
        }
    }

    /// Adds some of what follows a place to `into` and moves the place; true where there may be more.
    pub(super) fn take(
        &self,
        place: &mut Place,
        wanted: impl Fn(&Item) -> bool,
        into: &mut Vec<Arc<[u8]>>,
    ) -> bool {
        let oldest = self.newest - self.recent.len() as u64;
        if place.catching_up.is_none() && place.seen < oldest {
            place.catching_up = Some(CatchUp {
                next: 0,
                until: self.newest,
            });
        }
        if let Some(CatchUp { next, until }) = place.catching_up {
            let end = self.latest.len().min(next + AT_ONCE);
            let items = &self.latest[next..end];
            let due = items
                .iter()
                .filter(|i| place.seen < i.number && i.number <= until && wanted(i));
            into.extend(due.map(|item| item.json.clone()));
            if end == self.latest.len() {
                *place = Place {
                    seen: until,
                    catching_up: None,
                };
            } else {
                place.catching_up = Some(CatchUp { next: end, until });
            }
        } else {
            let from = usize::try_from(place.seen - oldest).unwrap_or(usize::MAX);
            let items = self.recent.iter().skip(from).take(AT_ONCE);
            for item in items {
                place.seen = item.number;
                if wanted(item) {
                    into.push(item.json.clone());
                }
            }
        }
        place.catching_up.is_some() || place.seen < self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(feed: &mut Feed, key: usize, value: usize) {
        let name = format!("S{key}");
        let json = format!("{key}={value}").into_bytes();
        feed.push(name.as_bytes(), json.into(), || (&name, ""));
    }

    fn take_all(feed: &Feed, place: &mut Place) -> Vec<String> {
        let mut taken = Vec::new();
        while feed.take(place, |_| true, &mut taken) {}
        taken
            .iter()
            .map(|json| String::from_utf8(json.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn who_keeps_up_sees_each_item_in_order() {
        let mut feed = Feed::default();
        push(&mut feed, 0, 0);
        let mut place = feed.end();
        let mut seen = Vec::new();
        for n in 0..3 * RECENT {
            push(&mut feed, n % 2, n);
            if n % 100 == 0 {
                seen.extend(take_all(&feed, &mut place));
            }
        }
        seen.extend(take_all(&feed, &mut place));
        let sent: Vec<_> = (0..3 * RECENT).map(|n| format!("{}={n}", n % 2)).collect();
        assert_eq!(seen, sent);
    }

    #[test]
    fn who_lags_sees_the_newest_of_each_key_once_and_then_goes_on() {
        let mut feed = Feed::default();
        let mut place = feed.end();
        let keys = 2 * AT_ONCE;
        for n in 0..3 * RECENT {
            push(&mut feed, n % keys, n);
        }
        let mut taken = Vec::new();
        assert!(
            feed.take(&mut place, |_| true, &mut taken),
            "half of the keys"
        );
        // Both a key that was looked at and one that was not get another item meanwhile.
        push(&mut feed, 0, 1_000_000);
        push(&mut feed, keys - 1, 1_000_001);
        let mut seen: Vec<_> = taken
            .iter()
            .map(|json| String::from_utf8(json.to_vec()).unwrap())
            .collect();
        seen.extend(take_all(&feed, &mut place));
        let mut expected: Vec<_> = (3 * RECENT - keys..3 * RECENT - 1)
            .map(|n| format!("{}={n}", n % keys))
            .collect();
        expected.push("0=1000000".into());
        expected.push(format!("{}=1000001", keys - 1));
        assert_eq!(seen, expected);
        assert!(take_all(&feed, &mut place).is_empty());
    }
}
