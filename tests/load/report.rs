//! The report: medians and spread of the runs, a chart per table, the targets, the machine, and
//! what was not measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of a chart, then the part of it that holds the bars.
const CHART: (f64, f64) = (860.0, 420.0);
/// Height of a bar including the gap below it.
const BAR: f64 = 22.0;

/// All results so far.
#[derive(Default)]
pub struct Report {
    sections: Vec<Section>,
    not_measured: Vec<String>,
}

struct Section {
    name: &'static str,
    about: String,
    /// Rows and columns in the order in which they were first added.
    rows: Vec<String>,
    columns: Vec<&'static str>,
    samples: BTreeMap<(usize, usize), Vec<f64>>,
}

/// The bound of a target.
#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// At most this many times the same figure of another row.
    TimesRow(f64, &'static str),
}

/// A target: section, row and column of a figure, and its bound.
pub type Aim = (&'static str, &'static str, &'static str, Bound);

impl Report {
    /// Starts or continues a table. `about` describes the measurement in a sentence or two.
    pub fn section(&mut self, name: &'static str, about: &str) {
        println!("{name}: {about}");
        if !self.sections.iter().any(|section| section.name == name) {
            self.sections.push(Section {
                name,
                about: about.to_owned(),
                rows: Vec::new(),
                columns: Vec::new(),
                samples: BTreeMap::new(),
            });
        }
    }

    /// Adds a figure of one run. A column's name ends with its unit.
    pub fn add(&mut self, section: &str, row: &str, column: &'static str, value: f64) {
        println!("  {row}, {column}: {}", number(value));
        let section = self.sections.iter_mut().find(|known| known.name == section);
        let section = section.expect("a section begins before its figures");
        let row = index(&mut section.rows, row.to_owned());
        let column = index(&mut section.columns, column);
        section.samples.entry((row, column)).or_default().push(value);
    }

    /// Records what could not be measured here, or is not measured by default, and why.
    pub fn not_measured(&mut self, what: &str) {
        println!("  not measured: {what}");
        index(&mut self.not_measured, what.to_owned());
    }

    /// Writes `report.md` and its charts into a directory; returns the path of the page.
    pub fn write(&self, dir: &Path, aims: &[Aim]) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let mut page = String::from("# Measurements\n\n");
        page.push_str(&machine());
        page.push_str(
            "\nFigures are medians; brackets hold the least and the most of several runs. Figures \
             differ between machines: compare those of one report.\n",
        );
        for section in &self.sections {
            let file = format!("{}.svg", section.name);
            let _ =
                write!(page, "\n## {}\n\n{}\n\n{}", section.name, section.about, section.table());
            if let Some(chart) = section.chart() {
                std::fs::write(dir.join(&file), chart)?;
                let _ = write!(page, "\n![{}]({file})\n", section.columns[0]);
            }
        }
        page.push_str(&self.aims(aims));
        if !self.not_measured.is_empty() {
            page.push_str("\n## Not measured\n\n");
            for what in &self.not_measured {
                let _ = writeln!(page, "- {what}");
            }
        }
        let path = dir.join("report.md");
        std::fs::write(&path, page)?;
        Ok(path)
    }

    fn median(&self, section: &str, row: &str, column: &str) -> Option<f64> {
        let section = self.sections.iter().find(|known| known.name == section)?;
        let row = section.rows.iter().position(|known| known == row)?;
        let column = section.columns.iter().position(|known| *known == column)?;
        Some(spread(section.samples.get(&(row, column))?).0)
    }

    fn aims(&self, aims: &[Aim]) -> String {
        let mut text =
            String::from("\n## Aims\n\n| figure | aim | measured | |\n|---|---|---|---|\n");
        for (section, row, column, bound) in aims {
            let Some(measured) = self.median(section, row, column) else { continue };
            let (aim, reached) = match bound {
                Bound::AtMost(most) => (format!("at most {}", number(*most)), measured <= *most),
                Bound::AtLeast(least) => {
                    (format!("at least {}", number(*least)), measured >= *least)
                }
                Bound::TimesRow(times, other) => {
                    let Some(theirs) = self.median(section, other, column) else { continue };
                    let most = times * theirs;
                    (format!("at most {times} × {other}: {}", number(most)), measured <= most)
                }
            };
            let reached = if reached { "reached" } else { "**not reached**" };
            let measured = number(measured);
            let _ =
                writeln!(text, "| {section}: {row}, {column} | {aim} | {measured} | {reached} |");
        }
        text
    }
}

impl Section {
    fn table(&self) -> String {
        let mut text = format!("| {} | {} |\n|---|", self.name, self.columns.join(" | "));
        text.push_str(&"---|".repeat(self.columns.len()));
        text.push('\n');
        for (r, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = (0..self.columns.len())
                .map(|c| self.samples.get(&(r, c)).map_or("–".to_owned(), |some| cell(some)))
                .collect();
            let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
        }
        text
    }

    /// A bar chart of the first column, with the spread of its runs.
    fn chart(&self) -> Option<String> {
        let bars: Vec<(&String, (f64, f64, f64))> = (self.rows.iter().enumerate())
            .filter_map(|(r, row)| Some((row, spread(self.samples.get(&(r, 0))?))))
            .collect();
        let most = bars.iter().map(|(_, (_, _, most))| *most).fold(0.0, f64::max);
        if bars.len() < 2 || most <= 0.0 {
            return None;
        }
        let (width, room) = CHART;
        let left = width - room - 70.0;
        let height = BAR * f64::from(u32::try_from(bars.len()).ok()?) + 34.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>\n",
            escaped(self.columns[0]),
        );
        let mut y = 30.0;
        for (row, (median, least, most_of_row)) in bars {
            let at = |value: f64| left + value / most * room;
            let colour = if row.ends_with("ghpulse") { "#0969da" } else { "#8c959f" };
            let middle = y + 8.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"/>\
                 <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#1f2328\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 6.0,
                y + 12.0,
                escaped(row),
                at(median) - left,
                at(least),
                at(most_of_row),
                at(most_of_row) + 5.0,
                y + 12.0,
                number(median),
            );
            y += BAR;
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

fn index<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}

/// Median, minimum, maximum.
fn spread(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn cell(samples: &[f64]) -> String {
    let (median, least, most) = spread(samples);
    if samples.len() == 1 || (most - least).abs() < f64::EPSILON {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(least), number(most))
}

/// Formats with three significant digits and grouped thousands.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let digits = format!("{value:.0}");
        let first = digits.len() % 3;
        let mut text = digits[..first].to_owned();
        for group in digits.as_bytes()[first..].chunks(3) {
            if !text.is_empty() && text != "-" {
                text.push(',');
            }
            text.push_str(&String::from_utf8_lossy(group));
        }
        text
    } else if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Describes the machine.
fn machine() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rows = [
        ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
        ("processor", Some(format!("{cores} × {}", value(&file("/proc/cpuinfo"), "model name")))),
        ("memory", Some(value(&file("/proc/meminfo"), "MemTotal"))),
        ("kernel", said("uname", &["-sr"])),
        ("load before", file("/proc/loadavg").split(' ').next().map(str::to_owned)),
        ("rustc", said("rustc", &["--version"])),
        ("go", said("go", &["version"])),
    ];
    let mut text = String::from("| measured on | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {} |", value.as_deref().unwrap_or("not there"));
    }
    text
}
