//! Line charts as SVG: inline, colored by the page's style sheet, or as files of their own.

use maud::{Markup, PreEscaped, html};

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
/// Room for labels at the left, right, top and bottom.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;

/// Longer lines are thinned to so many points.
const POINTS: usize = 300;

/// Logarithmic axes from end to end of at most this ratio have ticks at 2 and 5 times a power of ten too.
const LOG_SPAN_WITH_FINE_TICKS: f64 = 300.0;

/// Lines of at most so many points show each of them.
const DOTTED_POINTS: usize = 30;

/// Colors of a chart that stands alone, on white.
const STANDALONE_STYLE: &str = include_str!("chart.css");

/// A chart of several lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, for readers who cannot see it.
    pub title: String,
    /// Below.
    pub x_label: &'static str,
    /// At the left.
    pub y_label: &'static str,
    /// How y is drawn.
    pub scale: Scale,
    /// The lines, drawn in order.
    pub lines: Vec<Line>,
    /// Values of x where something happens, dotted.
    pub marks: Vec<f64>,
}

/// How values of y become heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values that are not positive are left out.
    Log,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Shown when pointed at.
    pub name: String,
    /// Color and weight, classes of the style sheet, e.g. `c0 thin`.
    pub class: String,
    /// In the order of x.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The drawing, or a sentence where there is nothing to draw.
    pub fn markup(&self) -> Markup {
        match self.drawing() {
            Some(drawing) => html! {
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) { (drawing) }
            },
            None => html! { p .note { (self.title) ": nothing was measured." } },
        }
    }

    /// An SVG file with title and legend, for a page that has no style sheet of ours.
    pub fn standalone(&self) -> String {
        let (above, row) = (24.0, 14.0);
        let height = HEIGHT + above + row * self.lines.len() as f64;
        let legend = |index: usize| HEIGHT + above + row * (index as f64 + 0.3);
        let chart = html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH * 1.4) role="img" {
                style { (PreEscaped(STANDALONE_STYLE)) }
                rect .page width="100%" height="100%" {}
                text .title x=(LEFT) y="16" { (self.title) }
                g transform=(format!("translate(0 {above})")) { @if let Some(drawing) = self.drawing() { (drawing) } }
                @for (index, line) in self.lines.iter().enumerate() {
                    g .{ "line " (line.class) } {
                        line .key x1=(LEFT) x2=(LEFT + 18.0) y1=(legend(index)) y2=(legend(index)) {}
                    }
                    text x=(LEFT + 24.0) y=(legend(index)) dy="0.35em" { (line.name) }
                }
            }
        };
        chart.into_string()
    }

    /// Axes and lines; none where there is nothing to draw.
    fn drawing(&self) -> Option<Markup> {
        let drawable = self.lines.iter().map(|line| (line, self.drawable(line)));
        let lines: Vec<_> = drawable.filter(|(_, points)| !points.is_empty()).collect();
        let points = || lines.iter().flat_map(|(_, points)| points);
        points().next()?;
        let xs = Axis::linear(points().map(|(x, _)| *x), 5);
        let ys = match self.scale {
            Scale::Linear => Axis::linear(points().map(|(_, y)| *y), 5),
            Scale::Log => Axis::log(points().map(|(_, y)| *y)),
        };
        let right = |x: f64| LEFT + xs.share(x) * (WIDTH - LEFT - RIGHT);
        let down = |y: f64| HEIGHT - BOTTOM - ys.share(y) * (HEIGHT - TOP - BOTTOM);
        Some(html! {
                @for tick in &ys.ticks {
                    @let y = number(down(*tick));
                    line .grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
                    text .tick x=(LEFT - 6.0) y=(y) dy="0.35em" text-anchor="end" { (label(*tick)) }
                }
                @for tick in &xs.ticks {
                    @let x = number(right(*tick));
                    line .grid x1=(x) x2=(x) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 4.0) {}
                    text .tick x=(x) y=(HEIGHT - BOTTOM + 16.0) text-anchor="middle" { (label(*tick)) }
                }
                text .axis x=(LEFT + (WIDTH - LEFT - RIGHT) / 2.0) y=(HEIGHT - 4.0) text-anchor="middle" { (self.x_label) }
                text .axis transform=(format!("translate(11 {}) rotate(-90)", TOP + (HEIGHT - TOP - BOTTOM) / 2.0))
                    text-anchor="middle" { (self.y_label) }
                @for mark in self.marks.iter().filter(|mark| (xs.low..=xs.high).contains(*mark)) {
                    @let x = number(right(*mark));
                    line .mark x1=(x) x2=(x) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                }
                @for (line, points) in &lines {
                    @let points: Vec<_> = points.iter().map(|(x, y)| (number(right(*x)), number(down(*y)))).collect();
                    @let path: Vec<_> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
                    g .{ "line " (line.class) } {
                        title { (line.name) }
                        path d={ "M" (path.join("L")) } {}
                        @if points.len() <= DOTTED_POINTS { @for (x, y) in &points { circle cx=(x) cy=(y) r="2" {} } }
                    }
                }
        })
    }

    fn drawable(&self, line: &Line) -> Vec<(f64, f64)> {
        let visible =
            |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (self.scale == Scale::Linear || *y > 0.0);
        thin(&line.points.iter().copied().filter(visible).collect::<Vec<_>>())
    }
}

/// At most [`POINTS`] points, each the mean of its neighbors.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |group: &[(f64, f64)]| {
        let n = group.len() as f64;
        let sum = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / n, sum.1 / n)
    };
    points.chunks(group).map(mean).collect()
}

/// One direction of a chart.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// From round number to round number, about `count` steps.
    fn linear(values: impl Iterator<Item = f64>, count: u32) -> Self {
        let (low, high) = bounds(values);
        let span = if high > low { high - low } else { low.abs().max(1.0) };
        let rough = span / f64::from(count);
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|step| *step >= rough).unwrap_or(power);
        let (first, last) = ((low / step).floor(), (high / step).ceil().max((low / step).floor() + 1.0));
        let ticks = (0..=(last - first) as u32).map(|n| (first + f64::from(n)) * step).collect();
        Self { low: first * step, high: last * step, is_log: false, ticks }
    }

    /// From one of 1, 2, 5 times a power of ten to another; ticks at these, or at powers of ten where they are many.
    fn log(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let powers = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32 + 1;
        let steps: Vec<f64> =
            powers.flat_map(|power| [1.0, 2.0, 5.0].map(|f| f * 10_f64.powi(power))).collect();
        let bottom = steps.iter().copied().filter(|step| *step <= low).fold(low / 10.0, f64::max);
        let top =
            steps.iter().copied().filter(|step| *step > low && *step >= high).fold(high * 10.0, f64::min);
        let is_many = top / bottom > LOG_SPAN_WITH_FINE_TICKS;
        let is_decade = |step: f64| (step.log10() - step.log10().round()).abs() < 1e-9;
        let is_tick = |step: &f64| (bottom..=top).contains(step) && (!is_many || is_decade(*step));
        Self { low: bottom, high: top, is_log: true, ticks: steps.into_iter().filter(is_tick).collect() }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    fn share(&self, value: f64) -> f64 {
        let place = |value: f64| if self.is_log { value.log10() } else { value };
        (place(value) - place(self.low)) / (place(self.high) - place(self.low))
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A coordinate, short.
fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// A tick's value as people write it.
fn label(value: f64) -> String {
    match value.abs() {
        v if v < 1e-12 => "0".to_owned(),
        v if !(1e-3..1e6).contains(&v) => format!("{value:.0e}"),
        v if v >= 1000.0 => {
            let digits = format!("{value:.0}");
            let cut = digits.len() - 3;
            format!("{},{}", &digits[..cut], &digits[cut..])
        }
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_cover_the_values() {
        let axis = Axis::linear([3.0, 47.0].into_iter(), 5);
        assert_eq!(axis.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!((axis.share(0.0), axis.share(50.0)), (0.0, 1.0));
    }

    #[test]
    fn a_single_value_still_has_an_axis() {
        let axis = Axis::linear([7.0].into_iter(), 5);
        assert!(axis.low <= 7.0 && axis.high > axis.low);
        assert!(Axis::log([1.0].into_iter()).high > 1.0);
    }

    #[test]
    fn log_ticks_are_powers_of_ten() {
        let labels = |axis: &Axis| axis.ticks.iter().map(|tick| label(*tick)).collect::<Vec<_>>();
        let wide = Axis::log([0.002, 30.0].into_iter());
        assert_eq!(labels(&wide), ["0.01", "0.1", "1", "10"]);
        assert!((wide.low - 0.002).abs() < 1e-12 && (wide.high - 50.0).abs() < 1e-9);
        let narrow = Axis::log([1.1, 18.0].into_iter());
        assert_eq!(labels(&narrow), ["1", "2", "5", "10", "20"]);
        assert!((narrow.share(20.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn labels_read_well() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.5, "12.5"),
            (4000.0, "4,000"),
            (2e-4, "2e-4"),
            (0.1 + 0.2, "0.3"),
        ];
        for (value, text) in cases {
            assert_eq!(label(value), text);
        }
    }

    #[test]
    fn long_lines_are_thinned_and_losses_of_zero_leave_a_log_chart() {
        let points: Vec<(f64, f64)> = (0..4000).map(|x| (f64::from(x), f64::from(x))).collect();
        assert!(thin(&points).len() <= POINTS);
        let line = Line { name: "ce".into(), class: "c0".into(), points: vec![(0.0, 0.0)] };
        let chart = Chart {
            title: "loss".into(),
            x_label: "x",
            y_label: "y",
            scale: Scale::Log,
            lines: vec![line],
            marks: Vec::new(),
        };
        assert_eq!(chart.markup().into_string(), r#"<p class="note">loss: nothing was measured.</p>"#);
        let alone = chart.standalone();
        assert!(alone.starts_with("<svg xmlns=") && alone.contains(">ce</text>"), "{alone}");
    }
}
