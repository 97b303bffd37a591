//! What producers write to `ticks`: walks of a few symbols, with all that comes with real producers - repeats, late
//! ticks, other kinds of records, lines that are none, messages sent again - and now and then the close at which the
//! hostile plugin fails.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use wigwag::log::{Append, Topic};

use super::{cluster::PARTITIONS, support::tick};

/// The close at which `misbehave` misbehaves.
const PROVOKING: f64 = 666.0;

/// Messages that may be sent again.
const REMEMBERED: usize = 6;

pub(crate) struct Market {
    places: Vec<Place>,
    /// How often a tick is provoking.
    provoking: f64,
}

/// The producers of one partition.
struct Place {
    number: u32,
    time: f64,
    closes: Vec<f64>,
    sequences: [u64; 2],
    sent: Vec<Append>,
    last_line: Option<String>,
}

impl Market {
    pub(crate) fn new(dice: &mut ChaCha8Rng) -> Self {
        let place = |number| Place {
            number,
            time: 1_700_000_000.0,
            closes: vec![100.0; 2],
            sequences: [0; 2],
            sent: Vec::new(),
            last_line: None,
        };
        Self {
            places: (0..PARTITIONS).map(place).collect(),
            provoking: [0.0, 0.02, 0.15][dice.random_range(0..3)],
        }
    }

    /// The next message of a partition.
    pub(crate) fn next(&mut self, partition: u32, dice: &mut ChaCha8Rng) -> Append {
        let provoking = self.provoking;
        let place = &mut self.places[partition as usize];
        // The answer was lost, and the producer sends it again; or the network does, long after.
        if !place.sent.is_empty() && dice.random_bool(0.15) {
            let again = match dice.random_bool(0.7) {
                true => place.sent.len() - 1,
                false => dice.random_range(0..place.sent.len()),
            };
            return place.sent[again].clone();
        }
        let lines = dice.random_range(1..=4);
        let lines: Vec<String> = (0..lines).map(|_| place.line(provoking, dice)).collect();
        let mut append = Append {
            topic: Topic::Ticks,
            partition,
            key: place.symbol(0).into_bytes(),
            value: lines.join("\n").into_bytes(),
            headers: Vec::new(),
        };
        if dice.random_bool(0.6) {
            let producer = dice.random_range(0..2);
            let sequence = &mut place.sequences[producer];
            // Parts of one POST have one sequence.
            let part = u64::from(*sequence > 0 && dice.random_bool(0.1));
            *sequence += 1 - part;
            append.headers = vec![
                ("Producer-Id", format!("p{producer}").into_bytes()),
                ("Sequence", sequence.to_string().into_bytes()),
                ("Part", part.to_string().into_bytes()),
            ];
            if place.sent.len() == REMEMBERED {
                place.sent.remove(0);
            }
            place.sent.push(append.clone());
        }
        append
    }
}

impl Place {
    fn symbol(&self, n: usize) -> String {
        format!("S{}-{n}", self.number)
    }

    fn line(&mut self, provoking: f64, dice: &mut ChaCha8Rng) -> String {
        match dice.random_range(0..100) {
            0..3 => return "{\"stock_symbol\":\"S0\"".to_owned(),
            3..6 => {
                let (time, value) = (self.time, dice.random_range(0..9));
                return format!(
                    r#"{{"data_type":"economic_indicator","indicator_name":"cpi","value":{value},"timestamp":{time}}}"#
                );
            }
            6..9 => {
                let (time, symbol) = (self.time, self.symbol(dice.random_range(0..9)));
                return format!(
                    r#"{{"data_type":"order_book","stock_symbol":"{symbol}","order_type":"buy","price":1.5,"quantity":2,"timestamp":{time}}}"#
                );
            }
            9..14 => {
                if let Some(line) = &self.last_line {
                    return line.clone();
                }
            }
            14..16 if self.closes.len() < 5 => self.closes.push(100.0),
            _ => {}
        }
        let symbol = dice.random_range(0..self.closes.len());
        self.time += [0.05, 0.3, 0.9, 7.0][dice.random_range(0..4)];
        let late = match dice.random_range(0..20) {
            0 => 15.0,
            1 => 3.0,
            _ => 0.0,
        };
        let close = &mut self.closes[symbol];
        *close += f64::from(dice.random_range(-8..=8)) * 0.25;
        let close = match dice.random_bool(provoking) {
            true => PROVOKING,
            false => close.max(10.0),
        };
        let line = tick(&self.symbol(symbol), self.time - late, close);
        self.last_line = Some(line.clone());
        line
    }
}
