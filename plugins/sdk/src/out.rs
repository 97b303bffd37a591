//! What a strategy says: signals, and the values of its series.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::Strategy;

/// The side of a signal or an order. No opinion is no signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// To buy.
    Buy,
    /// To sell.
    Sell,
}

/// What a signal says, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// To buy or to sell.
    pub side: Side,
    /// One line for a person, 1 to 200 bytes.
    pub reason: Cow<'static, str>,
}

/// Signals as parallel columns, one entry a signal, in the order of their rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signals {
    /// The row whose tick caused it.
    pub row: Vec<u32>,
    /// Which of `opinions` it is.
    pub opinion: Vec<u32>,
    /// 0 to 1.
    pub strength: Vec<f64>,
    /// For each signal, one entry a series as at its row; not-a-number where there is no value.
    pub values: Vec<f64>,
    /// The opinions of this batch.
    pub opinions: Vec<Opinion>,
}

/// One of [`Signals`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal<'a> {
    /// The row whose tick caused it.
    pub row: u32,
    /// To buy or to sell.
    pub side: Side,
    /// 0 to 1.
    pub strength: f64,
    /// One line for a person.
    pub reason: &'a str,
    /// One entry a series; not-a-number where there is no value.
    pub values: &'a [f64],
}

/// What a batch gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// The signals.
    pub signals: Signals,
    /// For each wanted row, one entry a series; not-a-number where there is no value.
    pub values: Vec<f64>,
}

impl Signals {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Signal<'_>> {
        let series = self.values.len().checked_div(self.len()).unwrap_or(0);
        (0..self.len()).map(move |n| {
            let opinion = &self.opinions[self.opinion[n] as usize];
            Signal {
                row: self.row[n],
                side: opinion.side,
                strength: self.strength[n],
                reason: &opinion.reason,
                values: &self.values[n * series..][..series],
            }
        })
    }

    /// Adds one, whose values are still to come.
    pub(crate) fn push(&mut self, row: u32, side: Side, strength: f64, reason: Cow<'static, str>) {
        /// Reasons that were made up for one signal are not looked through without end.
        const LOOKED_THROUGH: usize = 16;
        let mut known = self.opinions.iter().take(LOOKED_THROUGH);
        let known = known.position(|known| match (&known.reason, &reason) {
            (Cow::Borrowed(known_reason), Cow::Borrowed(reason)) => {
                known.side == side && std::ptr::eq(*known_reason, *reason)
            }
            _ => false,
        });
        let opinion = known.unwrap_or_else(|| {
            self.opinions.push(Opinion { side, reason });
            self.opinions.len() - 1
        });
        self.row.push(row);
        self.opinion.push(opinion as u32);
        self.strength.push(strength);
    }
}

/// Takes what a strategy makes of one tick.
pub struct Out<'a, S> {
    row: u32,
    signals: &'a mut Signals,
    values: &'a mut [f64],
    strategy: PhantomData<S>,
}

impl<'a, S: Strategy> Out<'a, S> {
    #[inline]
    pub(crate) fn new(row: u32, signals: &'a mut Signals, values: &'a mut [f64]) -> Self {
        Self {
            row,
            signals,
            values,
            strategy: PhantomData,
        }
    }

    /// The values at this tick, one for each of [`Strategy::SERIES`]; another number of them does not compile. Not
    /// called, there are none.
    #[inline]
    pub fn values<const N: usize>(&mut self, values: [Option<f64>; N]) {
        const {
            assert!(
                N == S::SERIES.len(),
                "there is not one value for each of the strategy's SERIES"
            )
        }
        for (to, value) in self.values.iter_mut().zip(values) {
            *to = value.unwrap_or(f64::NAN);
        }
    }

    /// Gives a signal to buy, of a strength from 0 to 1. The reason is one line of 1 to 200 bytes.
    #[inline]
    pub fn buy(&mut self, strength: f64, reason: impl Into<Cow<'static, str>>) {
        self.signals
            .push(self.row, Side::Buy, strength, reason.into());
    }

    /// Gives a signal to sell, of a strength from 0 to 1. The reason is one line of 1 to 200 bytes.
    #[inline]
    pub fn sell(&mut self, strength: f64, reason: impl Into<Cow<'static, str>>) {
        self.signals
            .push(self.row, Side::Sell, strength, reason.into());
    }
}
