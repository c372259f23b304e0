//! Line plots as inline SVG.
//!
//! Owns scales, ticks and paths. Refuses colors: classes name them, and the page's style sheet knows light, dark and print.
//! Lines differ by dashes too, so that nothing rests on color alone.

use core::fmt::Write as _;

use super::text::xml;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Where the area of lines begins and ends.
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 44.0;
/// Points of a line, at most; more are thinned to the lowest and highest of each column.
const POINTS_MAX: usize = 1_200;
/// What is left free above the highest line.
const HEADROOM: f64 = 1.06;
/// Room for one tick on the x axis, so that they do not run into each other.
const TICK_WIDTH: f64 = 64.0;

/// How values become lengths.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scale {
    /// From 0.
    Linear,
    /// Decades; values that are not positive are not drawn.
    Log,
    /// Percentiles by their nines: the value is `-log10(1 - q)`.
    Nines,
}

/// An axis.
#[derive(Copy, Clone)]
pub struct Axis<'a> {
    /// What it shows, with the unit.
    pub label: &'a str,
    /// Its scale.
    pub scale: Scale,
    /// How its ticks are written.
    pub show: fn(f64) -> String,
}

/// A line.
pub struct Line<'a> {
    /// Its name.
    pub name: &'a str,
    /// Chooses color and dashes: 1 to 4; 5 is a broad band below the others.
    pub style: u8,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
pub struct Plot<'a> {
    /// Unique in the page.
    pub id: &'a str,
    /// For people, and for those who cannot see it.
    pub title: &'a str,
    /// What it shows in words, with the figures that matter.
    pub description: String,
    /// Across.
    pub x: Axis<'a>,
    /// Up.
    pub y: Axis<'a>,
    /// The lines.
    pub lines: Vec<Line<'a>>,
    /// Parts of the x axis that are shaded.
    pub shaded: Vec<(f64, f64)>,
}

struct Range {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>, scale: Scale, headroom: f64) -> Range {
        let usable = values.filter(|value| value.is_finite() && (scale != Scale::Log || *value > 0.0));
        let (low, high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Range { low: if scale == Scale::Log { 1.0 } else { 0.0 }, high: 10.0, scale };
        }
        let (low, high) = match scale {
            Scale::Log => {
                // Whole steps of 1, 2, 5 around what is drawn.
                let below = log_steps(low / 10.0, low).last().copied().unwrap_or(low);
                let above = log_steps(high, high * 10.0).first().copied().unwrap_or(high);
                (below, above.max(below * 2.0))
            }
            Scale::Linear => (0.0, if high > 0.0 { high * headroom } else { 1.0 }),
            Scale::Nines => (low, if high > low { high } else { low + 1.0 }),
        };
        Range { low, high, scale }
    }

    /// 0 at the low end, 1 at the high one.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        }
    }

    fn ticks(&self, room: usize) -> Vec<f64> {
        let all = match self.scale {
            Scale::Log => {
                let all = log_steps(self.low, self.high);
                let decades: Vec<f64> = all.iter().copied().filter(|value| is_decade(*value)).collect();
                if all.len() > room && decades.len() > 1 { decades } else { all }
            }
            Scale::Linear => linear_steps(self.low, self.high, room),
            Scale::Nines => {
                let whole = (self.low.ceil() as i32..=self.high.floor() as i32).map(f64::from);
                let median = Some(MEDIAN).filter(|_| self.high < 4.5);
                let mut all: Vec<f64> = whole.chain(median).collect();
                all.sort_by(f64::total_cmp);
                all
            }
        };
        let every = all.len().div_ceil(room.max(1)).max(1);
        all.into_iter().step_by(every).collect()
    }
}

fn is_decade(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-9
}

/// 1, 2 and 5 of each decade between two positive values.
fn log_steps(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)));
    all.filter(|value| *value >= low * 0.999_999 && *value <= high * 1.000_001).collect()
}

fn linear_steps(low: f64, high: f64, room: usize) -> Vec<f64> {
    let rough = (high - low) / room.max(1) as f64;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|value| *value <= high * 1.000_001).take(50).collect()
}

/// The nines of the median.
const MEDIAN: f64 = core::f64::consts::LOG10_2;

/// The percentile of a nines tick.
pub fn show_nines(nines: f64) -> String {
    match nines as i32 {
        _ if nines == MEDIAN => "50 %".into(),
        0 => "0 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        n => format!("99.{} %", "9".repeat((n - 2).max(0) as usize)),
    }
}

impl Plot<'_> {
    /// The picture as SVG with title and description.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Range::of(points().map(|point| point.0), self.x.scale, 1.0);
        let y = Range::of(points().map(|point| point.1), self.y.scale, HEADROOM);
        let (id, title) = (self.id, xml(self.title));
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"{id}-t\">{title}</title>\n\
             <desc id=\"{id}-d\">{}</desc>\n",
            xml(&self.description)
        );
        self.shade(&mut svg, &x);
        self.axes(&mut svg, &x, &y);
        for line in &self.lines {
            path(&mut svg, line, &x, &y);
        }
        svg + "</svg>\n"
    }

    fn shade(&self, svg: &mut String, x: &Range) {
        for (from, to) in &self.shaded {
            let (left, right) = (across(x, from.max(x.low)), across(x, to.min(x.high)));
            if right > left {
                let (width, height) = (right - left, BOTTOM - TOP);
                let _ = writeln!(
                    svg,
                    "<rect class=\"shade\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
                );
            }
        }
    }

    fn axes(&self, svg: &mut String, x: &Range, y: &Range) {
        for value in y.ticks(6) {
            let at = up(y, value);
            let label = xml(&trimmed(&(self.y.show)(value)));
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let (left, low) = (LEFT - 7.0, at + 4.0);
            let _ = writeln!(svg, "<text class=\"tick end\" x=\"{left}\" y=\"{low:.1}\">{label}</text>");
        }
        for value in x.ticks(((RIGHT - LEFT) / TICK_WIDTH) as usize) {
            let at = across(x, value);
            let label = xml(&trimmed(&(self.x.show)(value)));
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>");
            let low = BOTTOM + 16.0;
            let _ = writeln!(svg, "<text class=\"tick mid\" x=\"{at:.1}\" y=\"{low}\">{label}</text>");
        }
        let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>");
        let (middle, low) = ((LEFT + RIGHT) / 2.0, HEIGHT - 8.0);
        let shaded = if self.shaded.is_empty() { "" } else { "; shaded: warm-up" };
        let label = xml(self.x.label);
        let _ = writeln!(svg, "<text class=\"mid\" x=\"{middle}\" y=\"{low}\">{label}{shaded}</text>");
    }

    /// Names of the lines with a sample of each, as HTML.
    pub fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"legend\">");
        for line in &self.lines {
            let (style, name) = (line.style, xml(line.name));
            let _ = write!(
                html,
                "<li><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
                 <path class=\"s{style}\" d=\"M1 5H27\"/></svg>{name}</li>"
            );
        }
        html + "</ul>\n"
    }
}

/// A tick without zeros that say nothing: 1 ms for 1.00 ms.
fn trimmed(tick: &str) -> String {
    let end = tick.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(tick.len());
    let (digits, unit) = tick.split_at(end);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

fn across(x: &Range, value: f64) -> f64 {
    LEFT + x.place(value) * (RIGHT - LEFT)
}

fn up(y: &Range, value: f64) -> f64 {
    BOTTOM - y.place(value) * (BOTTOM - TOP)
}

fn path(svg: &mut String, line: &Line, x: &Range, y: &Range) {
    let mut d = String::new();
    let mut pen_down = false;
    for (px, py) in thinned(&line.points) {
        if !py.is_finite() || (y.scale == Scale::Log && py <= 0.0) {
            pen_down = false;
            continue;
        }
        let _ = write!(d, "{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, across(x, px), up(y, py));
        pen_down = true;
    }
    if line.points.len() == 1 {
        d += "h.1";
    }
    let (style, name) = (line.style, xml(line.name));
    let _ = writeln!(svg, "<path class=\"line s{style}\" d=\"{d}\"><title>{name}</title></path>");
}

/// A line that is no more than a screen can show: of each column, the lowest and the highest point.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let column = (2 * points.len()).div_ceil(POINTS_MAX);
    if column <= 2 {
        return points.to_vec();
    }
    let ends = points.chunks(column).flat_map(|chunk| {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (chunk.iter().min_by(by_y), chunk.iter().max_by(by_y));
        let mut ends: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    });
    ends.collect()
}
