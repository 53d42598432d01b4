//! The `Tally` of a script: counts as floats, so that weights work, rounded once at the end.
//!
//! Counts of the window's names are stored in columns indexed by the name's number: adding a bucket
//! takes a few additions. Names that only the script uses are stored separately. A name with a
//! count of 0 is absent. Copies share their counts until one of them is changed (copy on write).

use std::collections::BTreeMap;
use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult, FLOAT, INT, Position};

use super::meter;
use crate::model::glob;
use crate::model::tally::{Bucket, NAMES, Tally, WindowSnapshot};

/// The longest pattern of names that `sum` accepts, in bytes.
const FORM_BYTES: usize = 1_024;

/// Result of a native call; the error is raised at the call.
pub(super) type NativeResult<T> = Result<T, Box<EvalAltResult>>;

/// An error that a script may catch.
pub(super) fn wrong<T>(reason: String) -> NativeResult<T> {
    Err(Box::new(EvalAltResult::ErrorRuntime(reason.into(), Position::NONE)))
}

/// A tally under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum(Arc<SumCounts>);

#[derive(Debug, Clone, Default)]
struct SumCounts {
    /// The names that the columns are numbered by.
    taken: Option<WindowSnapshot>,
    columns: Vec<f64>,
    others: BTreeMap<Arc<str>, f64>,
    /// Whether a float was added: the script then reads floats. Depends only on the script, never
    /// on the data, so that `/` always divides in the same way.
    fractional: bool,
}

/// The weight of an addition, and whether the script wrote a float.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    by: f64,
    fractional: bool,
}

impl Weight {
    pub(super) const ONE: Self = Self { by: 1.0, fractional: false };

    pub(super) fn whole(by: INT) -> Self {
        Self { by: float(by), fractional: false }
    }

    pub(super) fn float(by: FLOAT) -> NativeResult<Self> {
        if by.is_finite() {
            return Ok(Self { by, fractional: true });
        }
        wrong(format!("a weight must be a finite number, not {by}"))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn float(n: i64) -> f64 {
    n as f64
}

/// Whole numbers only; saturates at the bounds of `i64`.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as said")]
pub(super) fn rounded(n: f64) -> i64 {
    n.round() as i64
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let (long, most) = (name.len(), meter::name_bytes());
    if long == 0 {
        return Err("a name must not be empty".to_owned());
    }
    if long > most {
        let start: String = name.chars().take(20).collect();
        return Err(format!("the name \"{start}…\" has {long} bytes, {most} are allowed"));
    }
    Ok(())
}

impl SumCounts {
    /// The slot of a name's count, created if missing.
    fn cell(&mut self, name: &str) -> NativeResult<&mut f64> {
        if let Some(id) = self.taken.as_ref().and_then(|taken| taken.id(name)) {
            return Ok(&mut self.columns[usize::from(id)]);
        }
        if !self.others.contains_key(name) {
            check_name(name).or_else(wrong)?;
            if self.others.len() >= NAMES {
                return wrong(format!("a tally holds at most {NAMES} names"));
            }
            meter::cells(1)?;
            self.others.insert(name.into(), 0.0);
        }
        Ok(self.others.get_mut(name).expect("it was put there"))
    }

    fn get(&self, name: &str) -> f64 {
        match self.taken.as_ref().and_then(|taken| taken.id(name)) {
            Some(id) => self.columns[usize::from(id)],
            None => self.others.get(name).copied().unwrap_or(0.0),
        }
    }

    /// Creates columns for the names of this window. Returns whether the numbering fits.
    fn fit(&mut self, taken: &WindowSnapshot) -> NativeResult<bool> {
        if let Some(own) = &self.taken {
            return Ok(own.same_names(taken));
        }
        meter::cells(taken.width())?;
        self.columns = vec![0.0; taken.width()];
        self.taken = Some(taken.clone());
        for (name, n) in std::mem::take(&mut self.others) {
            *self.cell(&name)? += n;
        }
        Ok(true)
    }

    /// Names with counts other than 0, by name.
    fn entries(&self) -> Vec<(&Arc<str>, f64)> {
        let named = |(id, &n): (usize, &f64)| {
            let id = u16::try_from(id).ok()?;
            Some((self.taken.as_ref()?.name(id)?, n))
        };
        let columns = self.columns.iter().enumerate().filter(|&(_, &n)| n != 0.0);
        let others = self.others.iter().map(|(name, &n)| (name, n));
        let mut all: Vec<_> =
            columns.filter_map(named).chain(others.filter(|&(_, n)| n != 0.0)).collect();
        all.sort_unstable_by_key(|&(name, _)| name);
        all
    }

    fn len(&self) -> usize {
        self.columns.len() + self.others.len()
    }
}

impl Sum {
    /// The counts for a change; copied first when shared with another tally.
    fn own(&mut self) -> NativeResult<&mut SumCounts> {
        if Arc::get_mut(&mut self.0).is_none() {
            meter::cells(self.0.len())?;
        }
        Ok(Arc::make_mut(&mut self.0))
    }

    /// Adds buckets of a window, each of them `weight` times.
    pub(super) fn add_buckets<'a>(
        &mut self,
        taken: &WindowSnapshot,
        buckets: impl IntoIterator<Item = &'a Arc<Bucket>>,
        weight: Weight,
    ) -> NativeResult<()> {
        let counts = self.own()?;
        counts.fractional |= weight.fractional;
        let fits = counts.fit(taken)?;
        for bucket in buckets {
            meter::work(bucket.counts().len())?;
            for &(id, n) in bucket.counts() {
                let more = float(n) * weight.by;
                if fits {
                    counts.columns[usize::from(id)] += more;
                } else if let Some(name) = taken.name(id) {
                    *counts.cell(name)? += more;
                }
            }
        }
        Ok(())
    }

    /// Adds every count of another tally, `weight` times.
    pub(super) fn add_sum(&mut self, other: &Self, weight: Weight) -> NativeResult<()> {
        meter::work(other.0.len())?;
        let counts = self.own()?;
        counts.fractional |= weight.fractional || other.0.fractional;
        let fits = match &other.0.taken {
            Some(taken) => counts.fit(taken)?,
            None => false,
        };
        if fits {
            for (own, &n) in counts.columns.iter_mut().zip(&other.0.columns) {
                *own += n * weight.by;
            }
            for (name, &n) in &other.0.others {
                *counts.cell(name)? += n * weight.by;
            }
        } else {
            for (name, n) in other.0.entries() {
                *counts.cell(name)? += n * weight.by;
            }
        }
        Ok(())
    }

    /// A name's count, 0 when absent: an integer until a float was added to the tally.
    pub(super) fn get(&self, name: &str) -> Dynamic {
        let n = self.0.get(name);
        if self.0.fractional { n.into() } else { rounded(n).into() }
    }

    /// The sum of the counts whose names match this pattern, in which `*` matches anything.
    pub(super) fn sum(&self, form: &str) -> NativeResult<Dynamic> {
        if form.len() > FORM_BYTES {
            return wrong(format!("a form of names has at most {FORM_BYTES} bytes"));
        }
        meter::work(self.0.len().saturating_mul(4))?;
        let found =
            self.0.entries().into_iter().filter(|(name, _)| glob::matches(form, name.as_bytes()));
        let n = found.map(|(_, n)| n).sum();
        Ok(if self.0.fractional { FLOAT::from(n).into() } else { rounded(n).into() })
    }

    pub(super) fn set(&mut self, name: &str, n: f64, fractional: bool) -> NativeResult<()> {
        if !n.is_finite() {
            return wrong(format!("the count of \"{name}\" must be a finite number, not {n}"));
        }
        check_name(name).or_else(wrong)?;
        let counts = self.own()?;
        counts.fractional |= fractional;
        *counts.cell(name)? = n;
        Ok(())
    }

    /// Adds a name's count to another name and removes it.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> NativeResult<()> {
        check_name(to).or_else(wrong)?;
        let n = self.0.get(from);
        if n != 0.0 && from != to {
            let counts = self.own()?;
            *counts.cell(from)? = 0.0;
            *counts.cell(to)? += n;
        }
        Ok(())
    }

    pub(super) fn drop_name(&mut self, name: &str) -> NativeResult<()> {
        if self.0.get(name) != 0.0 {
            *self.own()?.cell(name)? = 0.0;
        }
        Ok(())
    }

    /// Drops every name that is not among these.
    pub(super) fn keep(&mut self, names: &[String]) -> NativeResult<()> {
        meter::work(self.0.len() + names.len())?;
        let kept: Vec<_> = names.iter().map(|name| (name.as_str(), self.0.get(name))).collect();
        self.replace(&kept)
    }

    /// Keeps the `n` names with the largest counts; ties go to the name that sorts first.
    pub(super) fn top(&mut self, n: usize) -> NativeResult<()> {
        meter::work(self.0.len().saturating_mul(2))?;
        let whole = Arc::clone(&self.0);
        let mut ranked = whole.entries();
        // Stable, and the entries come sorted by name.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(n);
        let kept: Vec<_> = ranked.into_iter().map(|(name, n)| (&**name, n)).collect();
        self.replace(&kept)
    }

    fn replace(&mut self, kept: &[(&str, f64)]) -> NativeResult<()> {
        let counts = self.own()?;
        counts.columns.fill(0.0);
        counts.others.clear();
        for &(name, n) in kept.iter().filter(|&&(_, n)| n != 0.0) {
            *counts.cell(name)? = n;
        }
        Ok(())
    }

    /// Sorted names with counts other than 0.
    pub(super) fn names(&self) -> NativeResult<Vec<Arc<str>>> {
        meter::work(self.0.len().saturating_mul(2))?;
        Ok(self.0.entries().into_iter().map(|(name, _)| Arc::clone(name)).collect())
    }

    /// The public result: integers above 0.
    pub(super) fn finish(&self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for (name, n) in self.0.entries() {
            put(&mut tally, Arc::clone(name), n)?;
        }
        check_size(&tally)?;
        Ok(tally)
    }
}

/// Inserts a count into a result: rounded, and left out unless it is above 0.
pub(super) fn put(tally: &mut Tally, name: Arc<str>, n: f64) -> Result<(), String> {
    if !n.is_finite() {
        return Err(format!("the count of \"{name}\" is {n}; a finite number is accepted"));
    }
    if rounded(n) > 0 {
        tally.add(name, rounded(n));
    }
    Ok(())
}

pub(super) fn check_size(tally: &Tally) -> Result<(), String> {
    if tally.len() <= NAMES {
        return Ok(());
    }
    Err(format!("the result has {} names, {NAMES} are allowed", tally.len()))
}

/// `Tally { Go: 5, Rust: 12.5 }`, cut after 20 names.
impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 20;
        let entries = self.0.entries();
        f.write_str("Tally {")?;
        for (at, (name, n)) in entries.iter().take(SHOWN).enumerate() {
            write!(f, "{} {name}: {n}", if at == 0 { "" } else { "," })?;
        }
        match entries.len().saturating_sub(SHOWN) {
            0 => f.write_str(" }"),
            more => write!(f, ", and {more} more }}"),
        }
    }
}
