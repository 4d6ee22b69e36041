//! The learning rates of the inner training and of the inverse: searched for at the start, and the former kept right.

use delt_pipeline::config::method::LrControl;

use crate::MatchingError;

/// How losses went along the steps of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Each is below the one before.
    Fell,
    /// The last is not below the first.
    Diverged,
    /// Neither.
    Wavered,
}

impl Course {
    pub(super) fn of(losses: &[f64]) -> Self {
        let is_lower = |pair: &[f64]| pair[1] < pair[0];
        match losses {
            [_, _, ..] if losses.windows(2).all(is_lower) => Self::Fell,
            [first, .., last] if last.is_nan() || last > first => Self::Diverged,
            _ => Self::Wavered,
        }
    }
}

/// The rates, and the courses of the inner training since they were last looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) inner: f64,
    pub(super) inverse: f64,
    pub(super) fell: u32,
    pub(super) diverged: u32,
    pub(super) seen: u32,
}

impl Rates {
    /// Takes a course in, and once in a while moves the inner rate.
    pub(super) fn see(&mut self, course: Course, iteration: u32, control: &LrControl) {
        self.seen += 1;
        self.fell += u32::from(course == Course::Fell);
        self.diverged += u32::from(course == Course::Diverged);
        if iteration == 0 || !iteration.is_multiple_of(control.every) {
            return;
        }
        let share = |count: u32| f64::from(count) / f64::from(self.seen);
        if share(self.diverged) >= control.diverged {
            self.inner *= control.lower;
        } else if share(self.fell) >= control.fell {
            self.inner *= control.higher;
        }
        (self.seen, self.fell, self.diverged) = (0, 0, 0);
    }
}

/// Raises a rate until the losses of its steps do not all fall; raised once more and retreated from, as published.
pub(super) fn search(
    start: f64,
    control: &LrControl,
    mut losses: impl FnMut(f64) -> Result<Vec<f64>, MatchingError>,
) -> Result<f64, MatchingError> {
    let mut lr = start;
    while Course::of(&losses(lr)?) == Course::Fell && lr.is_finite() {
        lr *= control.raise;
    }
    Ok(lr * control.raise * control.retreat)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: LrControl =
        LrControl { raise: 1.2, retreat: 0.7, every: 3, diverged: 0.29, lower: 0.9, fell: 0.7, higher: 1.05 };

    #[test]
    fn a_course_falls_wavers_or_diverges() {
        assert_eq!(Course::of(&[3.0, 2.0, 1.0]), Course::Fell);
        assert_eq!(Course::of(&[3.0, 1.0, 2.0]), Course::Wavered);
        assert_eq!(Course::of(&[3.0, 1.0, 4.0]), Course::Diverged);
        assert_eq!(Course::of(&[3.0, f64::NAN]), Course::Diverged);
        assert_eq!(Course::of(&[3.0]), Course::Wavered, "one loss shows nothing");
    }

    #[test]
    fn the_search_stops_where_losses_rise_and_the_rate_then_follows_the_courses() {
        let by_rate = |lr: f64| Ok(vec![1.0, if lr < 0.1 { 0.5 } else { 2.0 }]);
        let found = search(0.05, &CONTROL, by_rate).expect("no device");
        assert!((found - 0.05 * 1.2_f64.powi(5) * 0.7).abs() < 1e-12, "{found}");
        let mut rates = Rates { inner: 1.0, inverse: 1.0, fell: 0, diverged: 0, seen: 0 };
        for iteration in 0..=3 {
            rates.see(Course::Fell, iteration, &CONTROL);
        }
        assert_eq!((rates.inner, rates.seen), (1.05, 0));
        let courses = [Course::Diverged, Course::Fell, Course::Fell];
        for (iteration, course) in (4..).zip(courses) {
            rates.see(course, iteration, &CONTROL);
        }
        assert!((rates.inner - 1.05 * 0.9).abs() < 1e-12, "a third diverged");
    }
}
