//! A sum that keeps what rounding takes from it.

/// A sum carried with its rounding error, after Neumaier. The error comes from Knuth's two-sum, which needs no
/// comparison and so no jump.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}
snapshot!(Sum { sum, lost });

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let part = sum - self.sum;
        self.lost += (self.sum - (sum - part)) + (value - part);
        self.sum = sum;
    }

    /// The sum, or none where it is beyond the range of a number.
    #[inline]
    pub(crate) fn get(&self) -> Option<f64> {
        let sum = self.sum + self.lost;
        (sum.abs() < f64::INFINITY).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_large_number_covers_comes_back_when_it_goes() {
        let mut sum = Sum::default();
        for value in [0.1, 1e16, 0.2, -1e16] {
            sum.add(value);
        }
        assert_eq!(sum.get(), Some(0.1 + 0.2));
    }

    #[test]
    fn a_sum_beyond_the_range_of_numbers_is_none() {
        let mut sum = Sum::default();
        (0..2).for_each(|_| sum.add(f64::MAX));
        assert_eq!(sum.get(), None);
    }
}
