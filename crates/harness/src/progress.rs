//! Progress of long work: a bar with rate and time left on a terminal, a plain line every few seconds elsewhere.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use delt_pipeline::amounts::human_seconds;
use delt_pipeline::config::Branch;
use delt_pipeline::watch::{Interrupted, Watch};

/// Seconds between two plain lines when stderr is not a terminal.
const PLAIN_LINE_SECONDS: u64 = 15;

/// Seconds after which the first forecast is made.
const FORECAST_AFTER_SECONDS: f64 = 10.0;

/// Work longer than this is announced once in full.
const LONG_SECONDS: f64 = 1800.0;

/// One unit of long work, counted from zero to a known total.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    label: String,
    unit: String,
    total: u64,
    done: Cell<u64>,
    skipped: Cell<u64>,
    message: RefCell<String>,
    started: Cell<Instant>,
    last_line: Cell<Instant>,
    is_plain: bool,
    smaller_pipeline: Option<String>,
    forecast_made: Cell<bool>,
}

impl Progress {
    /// Starts at zero; `unit` is what is counted ("images", "iterations").
    pub fn new(label: &str, total: u64, unit: &str) -> Self {
        let is_plain = !std::io::stderr().is_terminal();
        let bar = ProgressBar::new(total);
        bar.set_draw_target(if is_plain {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        let template = format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{rate}} {{eta}} left {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.1}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        bar.set_prefix(label.to_owned());
        let now = Instant::now();
        Self {
            bar,
            label: label.to_owned(),
            unit: unit.to_owned(),
            total,
            done: Cell::new(0),
            skipped: Cell::new(0),
            message: RefCell::new(String::new()),
            started: Cell::new(now),
            last_line: Cell::new(now),
            is_plain,
            smaller_pipeline: None,
            forecast_made: Cell::new(false),
        }
    }

    /// Says how much work of a branch lies ahead, and starts at zero. Where it turns out to take hours, it names the pipeline
    /// for smaller machines.
    pub fn of_branch(label: &str, total: u64, unit: &str, branch: &Branch) -> Self {
        eprintln!("{label}: {total} {unit} to do");
        let smaller_pipeline = branch.pipeline.smaller_pipeline.clone();
        Self { smaller_pipeline, ..Self::new(label, total, unit) }
    }

    /// Begins the work; what an earlier run finished is counted as done, not in the rate.
    pub fn resume_at(&self, done: u64) {
        self.started.set(Instant::now());
        self.done.set(done);
        self.skipped.set(done);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    /// A short text shown beside the count, e.g. the current loss.
    pub fn message(&self, text: impl Into<String>) {
        let text = text.into();
        self.bar.set_message(text.clone());
        self.message.replace(text);
    }

    /// Counts `n` finished units.
    ///
    /// # Errors
    /// [`Interrupted`] once the user asked to stop; the caller saves its state before it passes this on.
    pub fn advance(&self, n: u64) -> Result<(), Interrupted> {
        self.done.set(self.done.get() + n);
        self.bar.set_position(self.done.get());
        self.forecast();
        if self.is_plain && self.last_line.get().elapsed() >= Duration::from_secs(PLAIN_LINE_SECONDS) {
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
        if self.forecast_made.get() || seconds < FORECAST_AFTER_SECONDS {
            return;
        }
        self.forecast_made.set(true);
        let left = self.seconds_left();
        if left < LONG_SECONDS {
            return;
        }
        let advice = self.smaller_pipeline.as_ref();
        let advice = advice.map_or(String::new(), |name| format!("; for a desktop there is `make {name}`"));
        self.bar
            .suspend(|| eprintln!("{}: about {} on this device{advice}", self.label, human_seconds(left)));
    }

    fn seconds_left(&self) -> f64 {
        let fresh = (self.done.get() - self.skipped.get()) as f64;
        let rate = fresh / self.started.get().elapsed().as_secs_f64().max(1e-9);
        if rate > 0.0 { self.total.saturating_sub(self.done.get()) as f64 / rate } else { 0.0 }
    }

    fn plain_line(&self) -> String {
        let seconds = self.started.get().elapsed().as_secs_f64();
        let fresh = (self.done.get() - self.skipped.get()) as f64;
        let rate = fresh / seconds.max(1e-9);
        format!(
            "{} {}/{} {} {:.1}/s {} left {}",
            self.label,
            self.done.get(),
            self.total,
            self.unit,
            rate,
            human_seconds(self.seconds_left()),
            self.message.borrow()
        )
    }
}

impl Watch for Progress {
    fn advance(&self, n: u64) -> Result<(), Interrupted> {
        Self::advance(self, n)
    }
}
