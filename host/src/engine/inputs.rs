//! The rows of one batch for each input that strategies read: the ticks, and of each interval that is read the bars that
//! they closed, each at the place of the tick that closed it. Events are in all of them.

use super::rows::{Place, Rows};
use crate::{
    bars::{Bar, Interval},
    market::Record,
    plugin::Columns,
    strategy::Input,
};

#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) ticks: Rows,
    bars: Vec<(Interval, Rows)>,
}

impl Inputs {
    /// Ticks alone.
    pub(super) const fn of_ticks(ticks: Rows) -> Self {
        let bars = Vec::new();
        Self { ticks, bars }
    }

    /// Bars of one interval alone.
    pub(super) fn of_bars(interval: Interval, rows: Rows) -> Self {
        let bars = vec![(interval, rows)];
        let ticks = Rows::default();
        Self { ticks, bars }
    }

    /// From here on bars are kept of the intervals that are among these, and of no other. To be called between batches.
    pub(super) fn keep_for(&mut self, inputs: impl Iterator<Item = Input> + Clone) {
        let is_read = |interval| inputs.clone().any(|i| i == Input::Bars(interval));
        self.bars.retain(|(interval, _)| is_read(*interval));
        for interval in inputs.clone().filter_map(Input::interval) {
            if self.bars_of(interval).is_none() {
                self.bars.push((interval, Rows::default()));
            }
        }
    }

    /// What a strategy with this input is to see; none where nobody read it.
    pub(super) fn of(&self, input: Input) -> Option<&Rows> {
        match input {
            Input::Ticks => Some(&self.ticks),
            Input::Bars(interval) => self.bars_of(interval),
        }
    }

    /// A bar that the tick at this place and time closed. Where nobody reads its interval, nothing happens.
    pub(super) fn push_bar(
        &mut self,
        place: Place,
        symbol: u32,
        (interval, bar): (Interval, &Bar),
        closed_at: f64,
    ) {
        let of = self.bars.iter_mut().find(|(of, _)| *of == interval);
        if let Some((_, rows)) = of {
            rows.push_bar(place, symbol, bar, closed_at);
        }
    }

    /// What is no tick.
    pub(super) fn push_event(&mut self, place: Place, symbol: Option<u32>, record: Record<'_>) {
        self.ticks.push_event(place, symbol, record);
        let Some(event) = self.ticks.events.last() else {
            return;
        };
        for (_, rows) in &mut self.bars {
            rows.repeat_event(event);
        }
    }

    /// As [`Rows::take_for_recovery`]; `columns` says what the strategies with an input read.
    pub(super) fn take_for_recovery(&mut self, columns: impl Fn(Input) -> Columns) -> Self {
        let ticks = self.ticks.take_for_recovery(columns(Input::Ticks));
        let take = |(interval, rows): &mut (Interval, Rows)| {
            let kept = rows.take_for_recovery(columns(Input::Bars(*interval)));
            (*interval, kept)
        };
        let bars = self.bars.iter_mut().map(take);
        let bars = bars.filter(|(_, rows)| rows.units() > 0).collect();
        Self { ticks, bars }
    }

    fn bars_of(&self, interval: Interval) -> Option<&Rows> {
        let of = self.bars.iter().find(|(of, _)| *of == interval);
        of.map(|(_, rows)| rows)
    }
}
