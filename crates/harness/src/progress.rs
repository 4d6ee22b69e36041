//! Progress of long work: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.

use std::cell::Cell;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::session::told::is_verbose;
use delt_pipeline::amounts::human_seconds;
use delt_pipeline::config::Branch;
use delt_pipeline::watch::{Interrupted, Watch};

/// Time between two plain lines when stderr is not a terminal.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(15);

/// Seconds after which the first forecast is made.
const FORECAST_AFTER_SECONDS: f64 = 10.0;

/// Work longer than this is announced once in full.
const LONG_SECONDS: f64 = 1800.0;

/// One unit of long work, counted from zero to a known total.
#[derive(Debug)]
pub struct Progress {
    /// Counts on a terminal and, hidden, without one.
    bar: ProgressBar,
    unit: String,
    skipped: Cell<u64>,
    started: Cell<Instant>,
    last_line: Cell<Instant>,
    smaller_pipeline: Option<String>,
    forecast_made: Cell<bool>,
}

impl Progress {
    /// Starts at zero; `unit` is what is counted ("images", "iterations").
    pub fn new(label: &str, total: u64, unit: &str) -> Self {
        let bar = ProgressBar::new(total).with_prefix(label.to_owned());
        let template = format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{rate}} {{eta}} left {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.1}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        let now = Instant::now();
        Self {
            bar,
            unit: unit.to_owned(),
            skipped: Cell::new(0),
            started: Cell::new(now),
            last_line: Cell::new(now),
            smaller_pipeline: None,
            forecast_made: Cell::new(false),
        }
    }

    /// Starts at zero; says how much work of a branch lies ahead where all is to be told. Where it turns out to take hours, it names the pipeline
    /// for smaller machines.
    pub fn of_branch(label: &str, total: u64, unit: &str, branch: &Branch) -> Self {
        if is_verbose() {
            eprintln!("{label}: {total} {unit} to do");
        }
        let smaller_pipeline = branch.pipeline.smaller_pipeline.clone();
        Self { smaller_pipeline, ..Self::new(label, total, unit) }
    }

    /// Begins the work; what an earlier run finished is counted as done, not in the rate.
    pub fn resume_at(&self, done: u64) {
        self.started.set(Instant::now());
        self.skipped.set(done);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    /// A short text shown beside the count, e.g. the current loss.
    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Counts `n` finished units.
    ///
    /// # Errors
    /// [`Interrupted`] once the user asked to stop; the caller saves its state before it passes this on.
    pub fn advance(&self, n: u64) -> Result<(), Interrupted> {
        self.bar.inc(n);
        self.forecast();
        if self.last_line.get().elapsed() >= PLAIN_LINE_INTERVAL && self.bar.is_hidden() {
            self.last_line.set(Instant::now());
            eprintln!("{}", self.plain_line());
        }
        crate::interrupt::check()
    }

    /// Ends the display.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Once, after the first seconds: how long all of it takes on this device, if that is long.
    fn forecast(&self) {
        let seconds = self.started.get().elapsed().as_secs_f64();
        if seconds < FORECAST_AFTER_SECONDS || self.forecast_made.replace(true) {
            return;
        }
        let left = self.seconds_left();
        if left < LONG_SECONDS {
            return;
        }
        let advice = self.smaller_pipeline.as_ref();
        let advice = advice.map_or(String::new(), |name| format!("; for a desktop there is `make {name}`"));
        let (label, left) = (self.bar.prefix(), human_seconds(left));
        self.bar.suspend(|| eprintln!("{label}: about {left} on this device{advice}"));
    }

    /// Units a second, without those that an earlier run finished.
    fn rate(&self) -> f64 {
        let fresh = (self.bar.position() - self.skipped.get()) as f64;
        fresh / self.started.get().elapsed().as_secs_f64().max(1e-9)
    }

    fn seconds_left(&self) -> f64 {
        let (rate, total) = (self.rate(), self.bar.length().unwrap_or(0));
        if rate > 0.0 { total.saturating_sub(self.bar.position()) as f64 / rate } else { 0.0 }
    }

    fn plain_line(&self) -> String {
        let Self { bar, unit, .. } = self;
        format!(
            "{} {}/{} {unit} {:.1}/s {} left {}",
            bar.prefix(),
            bar.position(),
            bar.length().unwrap_or(0),
            self.rate(),
            human_seconds(self.seconds_left()),
            bar.message()
        )
    }
}

impl Watch for Progress {
    fn advance(&self, n: u64) -> Result<(), Interrupted> {
        Self::advance(self, n)
    }

    fn say(&self, line: &str) {
        let label = self.bar.prefix();
        self.bar.suspend(|| eprintln!("{label}: {line}"));
    }
}
