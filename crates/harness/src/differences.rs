//! Whether two groups of students differ beyond chance.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::table::mean_and_std;

/// Share of differences that chance alone keeps inside the interval.
const CONFIDENCE: f64 = 0.95;

/// The difference of two means with its interval, by Welch's t: the spreads need not be alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    mean: f64,
    /// Half the width of the interval that holds the true difference with [`CONFIDENCE`].
    half_width: f64,
    n: (usize, usize),
}

impl Difference {
    /// None where a side has fewer than two students: nothing then tells how far chance goes.
    pub(crate) fn of(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        if ours.len().min(theirs.len()) < 2 {
            return None;
        }
        let squared_error = |values: &[f64]| mean_and_std(values).1.powi(2) / values.len() as f64;
        let (a, b) = (squared_error(ours), squared_error(theirs));
        let degrees = |error: f64, n: usize| error.powi(2) / (n - 1) as f64;
        let freedom = (a + b).powi(2) / (degrees(a, ours.len()) + degrees(b, theirs.len()));
        // equal students on both sides leave nothing to chance
        let quantile =
            StudentsT::new(0.0, 1.0, freedom).map_or(0.0, |t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0));
        let mean = mean_and_std(ours).0 - mean_and_std(theirs).0;
        Some(Self { mean, half_width: quantile * (a + b).sqrt(), n: (ours.len(), theirs.len()) })
    }

    fn is_beyond_chance(&self) -> bool {
        self.mean.abs() > self.half_width
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean, half_width, n: (ours, theirs) } = self;
        let verdict = match (self.is_beyond_chance(), *mean > 0.0) {
            (true, true) => "better, beyond chance",
            (true, false) => "worse, beyond chance",
            (false, _) => "not distinguishable from chance",
        };
        let (from, to) = (mean - half_width, mean + half_width);
        let interval = format!("95 % interval {from:+.2} to {to:+.2}");
        write!(f, "{mean:+.2} points, {interval} (n = {ours} and {theirs}): {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_welch() {
        // R: t.test(c(46.3, 43.1, 49.9), c(39.5, 36.2, 42.8)): difference 6.933, interval -0.660 to 14.526
        let difference = Difference::of(&[46.3, 43.1, 49.9], &[39.5, 36.2, 42.8]).expect("three each");
        assert!((difference.mean - 6.9333).abs() < 1e-3, "{difference:?}");
        assert!((difference.half_width - 7.62).abs() < 0.1, "{difference:?}");
        assert!(!difference.is_beyond_chance());
        assert!(
            Difference::of(&[46.0, 46.1, 46.2], &[39.0, 39.1, 39.2]).expect("three each").is_beyond_chance()
        );
        assert_eq!(Difference::of(&[46.0], &[39.0, 39.1]), None);
    }

    #[test]
    fn words_say_which_way_and_whether_it_means_anything() {
        let said = |ours: &[f64], theirs: &[f64]| Difference::of(ours, theirs).expect("enough").to_string();
        assert!(said(&[1.0, 9.0], &[2.0, 8.0]).ends_with("(n = 2 and 2): not distinguishable from chance"));
        assert!(said(&[50.0, 50.1, 50.2], &[40.0, 40.1, 40.2]).ends_with("better, beyond chance"));
        assert!(said(&[30.0, 30.1, 30.2], &[40.0, 40.1, 40.2]).ends_with("worse, beyond chance"));
    }
}
