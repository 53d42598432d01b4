//! Series as SVG: a chart, and a badge for a README.
//!
//! A picture loads nothing and runs nothing. All text in it is escaped, its size is bounded by the
//! number of days, and its colours suit light and dark pages.

use std::borrow::Cow;

use super::written::seen_of;
use crate::model::ledger::{DaySeen, RankedBy, RepoSeries};

/// A series and the figure to draw.
pub(super) struct Picture<'a> {
    pub(super) series: &'a RepoSeries,
    pub(super) by: RankedBy,
}

/// Size of a chart.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Its plot: left, top, right and bottom edge.
const LEFT: f64 = 52.0;
const TOP: f64 = 52.0;
const RIGHT: f64 = 628.0;
const BOTTOM: f64 = 212.0;
/// Estimated width of a character of a badge.
const CHAR: f64 = 6.6;

/// Estimated width of a character of a chart's text, and of its name.
const TEXT_CHAR: f64 = 6.6;
const NAME_CHAR: f64 = 9.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-size:15px;\
    font-weight:600;fill:#1f2328}.g{stroke:#d0d7de}.b{fill:#54aeff;opacity:.45}\
    .l{fill:none;stroke:#0969da;stroke-width:2}.f{fill:#fff}@media(prefers-color-scheme:dark){\
    text{fill:#9198a1}.t{fill:#f0f6fc}.g{stroke:#3d444d}.b{fill:#388bfd}.l{stroke:#4493f8}\
    .f{fill:#0d1117}}";

impl Picture<'_> {
    /// A chart: bars for the days, and a line for their sum from the first day on.
    pub(super) fn chart(&self) -> String {
        let counts: Vec<u64> = self.counts().collect();
        let sum = counts.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
        let most = counts.iter().copied().max().unwrap_or(0);
        let days = self.series.days.len();
        let stated = self.stated();
        let beside = stated.as_deref().map_or(0.0, |stated| chars(stated) * TEXT_CHAR + 12.0);
        let room = RIGHT - 12.0 - beside;
        let stated = stated.map_or_else(String::new, |stated| {
            format!("<text x=\"{RIGHT}\" y=\"22\" text-anchor=\"end\">{stated}</text>")
        });
        let scale = [(1.0, sum), (0.5, sum / 2), (0.0, 0)].map(|(part, figure)| {
            let y = BOTTOM - (BOTTOM - TOP) * part;
            let (x, below, figure) = (LEFT - 6.0, y + 4.0, short(figure));
            format!(
                "<path class=\"g\" d=\"M{LEFT} {y}H{RIGHT}\"/><text x=\"{x}\" y=\"{below}\" \
                 text-anchor=\"end\">{figure}</text>"
            )
        });
        let all = &self.series.days;
        let ends = [(LEFT, "start", all.first()), (RIGHT, "end", all.last())];
        let ends = ends.map(|(x, anchor, day)| {
            let day = day.map(|day| day.day.to_string()).unwrap_or_default();
            format!("<text x=\"{x}\" y=\"230\" text-anchor=\"{anchor}\">{day}</text>")
        });
        format!(
            "{}<style>{STYLE}</style><rect class=\"f\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             rx=\"6\"/><text class=\"t\" x=\"12\" y=\"22\">{}</text><text x=\"12\" y=\"40\">{} in \
             {days} days · {}</text>{stated}{}{}{}{}</svg>",
            head(WIDTH, HEIGHT, &self.title(sum)),
            escaped(&shortened(&self.series.name, room)),
            escaped(&format!("{} {}", grouped(sum), self.words())),
            escaped(&self.seen_in_full()),
            scale.concat(),
            bars(&counts, most),
            line(&counts, sum),
            ends.concat(),
        )
    }

    /// A badge: the figure's sum and how much of the feed was seen in its days.
    pub(super) fn badge(&self) -> String {
        let sum = self.counts().fold(0_u64, u64::saturating_add);
        let label = format!("{} in {} days", self.words(), self.series.days.len());
        let value = format!("{} · {}", grouped(sum), seen_words(seen_of(self.series)));
        let (a, b) = (width(&label), width(&value));
        format!(
            "{}<rect width=\"{a}\" height=\"20\" fill=\"#444\"/><rect x=\"{a}\" width=\"{b}\" \
             height=\"20\" fill=\"#0969da\"/><g fill=\"#fff\" font-family=\"Verdana,sans-serif\" \
             font-size=\"11\" text-anchor=\"middle\"><text x=\"{}\" y=\"14\" \
             textLength=\"{}\">{}</text><text x=\"{}\" y=\"14\" textLength=\"{}\">{}</text></g></svg>",
            head(a + b, 20.0, &self.title(sum)),
            a / 2.0,
            a - 10.0,
            escaped(&label),
            a + b / 2.0,
            b - 10.0,
            escaped(&value),
        )
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.series.days.iter().map(|day| day.counts.get(self.by.metric()))
    }

    fn words(&self) -> &'static str {
        match self.by {
            RankedBy::Stars => "stars",
            RankedBy::Forks => "forks",
            RankedBy::Prs => "pull requests",
            RankedBy::Pushes => "pushes",
        }
    }

    fn title(&self, sum: u64) -> String {
        let (name, words, days) = (&self.series.name, self.words(), self.series.days.len());
        let stated = self.stated().map(|stated| format!("; {stated}")).unwrap_or_default();
        let seen = self.seen_in_full();
        format!("{name}: {} {words} in {days} days, {seen}{stated}", grouped(sum))
    }

    /// The total that GitHub states, in words, when it is known.
    fn stated(&self) -> Option<String> {
        let totals = self.series.stated?;
        let total = match self.by {
            RankedBy::Stars => totals.stars,
            RankedBy::Forks => totals.forks,
            RankedBy::Prs | RankedBy::Pushes => return None,
        };
        Some(format!("GitHub states {} {}", grouped(total), self.words()))
    }

    /// How much of the repository's own growth was seen, when GitHub's totals tell.
    fn growth_seen(&self) -> Option<String> {
        let has_total = matches!(self.by, RankedBy::Stars | RankedBy::Forks);
        let seen = self.series.seen.filter(|_| has_total)?;
        Some(format!("seen {:.0} % of its growth", (seen * 100.0).floor()))
    }

    /// Both shares that are known: of the repository's growth, and of the whole feed.
    fn seen_in_full(&self) -> String {
        let feed = seen_words(seen_of(self.series));
        self.growth_seen().map_or(feed.clone(), |growth| format!("{growth} · {feed}"))
    }
}

/// The beginning of a picture, with what a screen reader says.
fn head(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    )
}

/// Bars of the days, up to the top for the most.
fn bars(counts: &[u64], most: u64) -> String {
    let step = step(counts);
    let width = (step * 0.8).max(0.5);
    let mut x = LEFT - step;
    let bar = |n: &u64| {
        x += step;
        let height = ((BOTTOM - TOP) * as_float(*n) / as_float(most.max(1))).max(1.0);
        (*n > 0).then(|| format!("M{x:.1} {BOTTOM}v-{height:.1}h{width:.1}v{height:.1}z"))
    };
    let path: Vec<String> = counts.iter().filter_map(bar).collect();
    format!("<path class=\"b\" d=\"{}\"/>", path.concat())
}

/// A line of the sum from the first day on.
fn line(counts: &[u64], sum: u64) -> String {
    let (step, mut x, mut so_far) = (step(counts), LEFT, 0_u64);
    let to = |n: &u64| {
        x += step;
        so_far = so_far.saturating_add(*n);
        let y = BOTTOM - (BOTTOM - TOP) * as_float(so_far) / as_float(sum.max(1));
        format!("L{x:.1} {y:.1}")
    };
    let path: Vec<String> = counts.iter().map(to).collect();
    format!("<path class=\"l\" d=\"M{LEFT} {BOTTOM}{}\"/>", path.concat())
}

/// The width of a day.
fn step(counts: &[u64]) -> f64 {
    (RIGHT - LEFT) / as_float(counts.len() as u64).max(1.0)
}

/// How much was seen, in words.
fn seen_words(seen: DaySeen) -> String {
    match seen.seen {
        Some(share) => format!("{:.0} % of the feed seen", (share * 100.0).floor()),
        None if seen.hours_imported > 0 => "from an archive".to_owned(),
        None if seen.days_filled > 0 => "from a database".to_owned(),
        None => "coverage unknown".to_owned(),
    }
}

/// A name, cut with an ellipsis where it would be wider than `room`.
fn shortened(name: &str, room: f64) -> Cow<'_, str> {
    let mut width = 0.0;
    let fits = |_: &char| {
        width += NAME_CHAR;
        width <= room
    };
    if chars(name) * NAME_CHAR <= room {
        return name.into();
    }
    let mut cut: String = name.chars().take_while(fits).collect();
    cut.pop();
    cut.push('…');
    cut.into()
}

fn width(text: &str) -> f64 {
    chars(text) * CHAR + 12.0
}

fn chars(text: &str) -> f64 {
    as_float(text.chars().count() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay below 2^53")]
fn as_float(n: u64) -> f64 {
    n as f64
}

/// A number with groups of three digits.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number for an axis.
fn short(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{}k", n / 1_000),
        _ => format!("{}M", n / 1_000_000),
    }
}

/// Text for an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
