//! Whether there is room for another strategy: each has a price, the fuel that one tick costs it, and all together must
//! stay within what an operator plans for. So one that is dear is refused at its start, and slows nobody.

use super::info::ControlError;
use crate::plugin::FieldError;

/// What a core runs through in a second: a plain loop of `misbehave` was measured at 2.5e10 (968,000 fuel in 38 µs); what
/// waits for memory runs through less, and a fifth is planned with.
pub const FUEL_PER_CORE_SECOND: f64 = 5e9;

/// What an operator plans for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// Ticks of all symbols that come in a second.
    pub ticks_per_second: f64,
    /// Cores that all strategies together may take for them.
    pub cores: f64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            ticks_per_second: 10_000.0,
            cores: 1.0,
        }
    }
}

impl Admission {
    fn cores_of(&self, fuel_per_tick: u64) -> f64 {
        fuel_per_tick as f64 * self.ticks_per_second / FUEL_PER_CORE_SECOND
    }

    /// Whether a strategy may run beside others that cost so much in all.
    ///
    /// # Errors
    /// Its price, the budget, and what to do.
    pub(super) fn admit(&self, id: &str, price: u64, others: u64) -> Result<(), ControlError> {
        if self.cores_of(price.saturating_add(others)) <= self.cores {
            return Ok(());
        }
        let (own, taken) = (self.cores_of(price), self.cores_of(others));
        let Self {
            ticks_per_second,
            cores,
        } = self;
        let message = format!(
            "strategy {id:?} costs {price} fuel for each tick: {own:.3} cores at the {ticks_per_second} ticks/s of \
             --plan-ticks, beside {taken:.3} that other strategies take, where --plan-cores allows {cores}; do less work \
             for each tick, remove another strategy, or have the operator plan for fewer ticks or more cores"
        );
        let error = FieldError {
            field: "plugin".to_owned(),
            message,
        };
        Err(ControlError::refused("admission", vec![error]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dear_is_refused_with_price_budget_and_cure() {
        let plan = Admission {
            ticks_per_second: 1_000.0,
            cores: 0.5,
        };
        assert!(plan.admit("a", 2_000_000, 500_000).is_ok());
        let error = plan.admit("a", 2_000_000, 500_001);
        let error = error.unwrap_err().to_string();
        for part in [
            "\"a\" costs 2000000 fuel",
            "0.400 cores",
            "beside 0.100",
            "allows 0.5",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
