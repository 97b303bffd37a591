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

/// An opinion.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The row whose tick caused it.
    pub row: u32,
    /// To buy or to sell.
    pub side: Side,
    /// 0 to 1.
    pub strength: f64,
    /// One line for a person, at most 200 bytes.
    pub reason: Cow<'static, str>,
    /// One entry a series as at this row; not-a-number where there is no value.
    pub values: Vec<f64>,
}

/// What a batch gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// Signals, in the order of their rows.
    pub signals: Vec<Signal>,
    /// For each wanted row, one entry a series; not-a-number where there is no value.
    pub values: Vec<f64>,
}

/// Takes what a strategy makes of one tick.
pub struct Out<'a, S> {
    row: u32,
    signals: &'a mut Vec<Signal>,
    values: &'a mut [f64],
    strategy: PhantomData<S>,
}

impl<'a, S: Strategy> Out<'a, S> {
    #[inline]
    pub(crate) fn new(row: u32, signals: &'a mut Vec<Signal>, values: &'a mut [f64]) -> Self {
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

    /// Gives a signal to buy, of a strength from 0 to 1. The reason is one line of at most 200 bytes.
    #[inline]
    pub fn buy(&mut self, strength: f64, reason: impl Into<Cow<'static, str>>) {
        self.signal(Side::Buy, strength, reason.into());
    }

    /// Gives a signal to sell, of a strength from 0 to 1. The reason is one line of at most 200 bytes.
    #[inline]
    pub fn sell(&mut self, strength: f64, reason: impl Into<Cow<'static, str>>) {
        self.signal(Side::Sell, strength, reason.into());
    }

    #[cold]
    fn signal(&mut self, side: Side, strength: f64, reason: Cow<'static, str>) {
        // Its values are filled in when the tick is done, so that it does not matter what is called first.
        self.signals.push(Signal {
            row: self.row,
            side,
            strength,
            reason,
            values: Vec::new(),
        });
    }
}
