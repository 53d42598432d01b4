//! Objects of a merge script: `window`, its buckets, and `Tally()`, documented in
//! `scripts/README.md`.

use std::sync::Arc;

use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Map};

use super::meter;
use super::sum::{NativeResult, Sum, Weight, float, wrong};
use crate::model::tally::{Bucket, WindowSnapshot};
use crate::model::window;

/// One second. A second without counts is an empty bucket.
#[derive(Debug, Clone)]
pub(super) struct BucketObject {
    taken: WindowSnapshot,
    at: INT,
    counted: Option<Arc<Bucket>>,
}

/// The window, or the previous one.
#[derive(Debug, Clone)]
pub(super) struct WindowObject {
    taken: WindowSnapshot,
    previous: bool,
}

impl BucketObject {
    fn total(&self) -> INT {
        self.counted.as_ref().map_or(0, |bucket| bucket.total())
    }

    fn age(&self) -> INT {
        // `until` is the first second after the current bucket.
        let current = window::Second(self.taken.window().until.0 - 1);
        self.taken.bucket_of(current).0 - self.at
    }

    fn get(&self, name: &str) -> INT {
        let id = self.taken.id(name);
        self.counted.as_ref().zip(id).map_or(0, |(bucket, id)| bucket.count(id))
    }

    /// Names and counts, by name.
    fn entries(&self) -> NativeResult<Vec<(&Arc<str>, INT)>> {
        let Some(bucket) = &self.counted else { return Ok(Vec::new()) };
        meter::work(bucket.counts().len())?;
        let named = |&(id, n): &(u16, i64)| Some((self.taken.name(id)?, n));
        let mut entries: Vec<_> = bucket.counts().iter().filter_map(named).collect();
        entries.sort_unstable_by_key(|&(name, _)| name);
        Ok(entries)
    }

    fn names(&mut self) -> NativeResult<Array> {
        Ok(self.entries()?.into_iter().map(|(name, _)| text(name)).collect())
    }

    fn map(&mut self) -> NativeResult<Map> {
        let entries = self.entries()?;
        Ok(entries.into_iter().map(|(name, n)| ((&**name).into(), n.into())).collect())
    }
}

impl WindowObject {
    pub(super) fn new(taken: WindowSnapshot) -> Self {
        Self { taken, previous: false }
    }

    fn window(&self) -> window::Window {
        let window = self.taken.window();
        if self.previous { window.previous() } else { window }
    }

    fn buckets(&self) -> &[Arc<Bucket>] {
        if self.previous { self.taken.previous() } else { self.taken.buckets() }
    }

    fn at(&self, at: INT) -> BucketObject {
        let at = self.taken.bucket_of(window::Second(at)).0;
        let buckets = self.buckets();
        let found = buckets.binary_search_by_key(&at, |bucket| bucket.at().0).ok();
        let counted = found.map(|index| Arc::clone(&buckets[index]));
        BucketObject { taken: self.taken.clone(), at, counted }
    }

    fn before(&self) -> NativeResult<Self> {
        if self.previous {
            return wrong("only one window before the current one is kept".to_owned());
        }
        Ok(Self { taken: self.taken.clone(), previous: true })
    }
}

/// Iterates over the seconds that have counts, oldest first.
impl IntoIterator for WindowObject {
    type Item = BucketObject;
    type IntoIter = Box<dyn Iterator<Item = BucketObject>>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new((0..self.buckets().len()).map(move |index| {
            let counted = Arc::clone(&self.buckets()[index]);
            BucketObject { taken: self.taken.clone(), at: counted.at().0, counted: Some(counted) }
        }))
    }
}

/// Registers the objects with an interpreter.
pub(super) fn register(engine: &mut Engine) {
    register_window(engine);
    register_tally(engine);
    register_add(engine);
}

fn register_window(engine: &mut Engine) {
    engine
        .register_type_with_name::<WindowObject>("Window")
        .register_iterator::<WindowObject>()
        .register_get("from", |seconds: &mut WindowObject| seconds.window().from.0)
        .register_get("to", |seconds: &mut WindowObject| seconds.window().until.0 - 1)
        .register_get("previous", |seconds: &mut WindowObject| seconds.before())
        .register_fn("at", |seconds: &mut WindowObject, at: INT| seconds.at(at))
        .register_fn("to_string", |seconds: &mut WindowObject| show_window(seconds))
        .register_fn("to_debug", |seconds: &mut WindowObject| show_window(seconds));
    engine
        .register_type_with_name::<BucketObject>("Bucket")
        .register_get("at", |second: &mut BucketObject| second.at)
        .register_get("age", |second: &mut BucketObject| second.age())
        .register_get("total", |second: &mut BucketObject| second.total())
        .register_fn("get", |second: &mut BucketObject, name: &str| second.get(name))
        .register_fn("names", BucketObject::names)
        .register_fn("to_map", BucketObject::map)
        .register_fn("to_string", |second: &mut BucketObject| show_bucket(second))
        .register_fn("to_debug", |second: &mut BucketObject| show_bucket(second));
}

fn register_tally(engine: &mut Engine) {
    engine
        .register_type_with_name::<Sum>("Tally")
        .register_fn("Tally", Sum::default)
        .register_fn("get", |sum: &mut Sum, name: &str| sum.get(name))
        .register_fn("set", |sum: &mut Sum, name: &str, n: INT| sum.set(name, float(n), false))
        .register_fn("set", |sum: &mut Sum, name: &str, n: FLOAT| sum.set(name, n, true))
        .register_fn("rename", |sum: &mut Sum, from: &str, to: &str| sum.rename(from, to))
        .register_fn("drop", |sum: &mut Sum, name: &str| sum.drop_name(name))
        .register_fn("keep", |sum: &mut Sum, names: Array| sum.keep(&texts(&names)?))
        .register_fn("top", top)
        .register_fn("sum", |sum: &mut Sum, form: &str| sum.sum(form))
        .register_fn("names", |sum: &mut Sum| names(sum))
        .register_get("names", |sum: &mut Sum| names(sum))
        .register_fn("to_string", |sum: &mut Sum| sum.to_string())
        .register_fn("to_debug", |sum: &mut Sum| sum.to_string());
}

/// `add(bucket | window | tally [, weight])`.
fn register_add(engine: &mut Engine) {
    macro_rules! weighted {
        ($add:expr, $what:ty) => {
            engine
                .register_fn("add", |sum: &mut Sum, what: $what| $add(sum, &what, Weight::ONE))
                .register_fn("add", |sum: &mut Sum, what: $what, by: INT| {
                    $add(sum, &what, Weight::whole(by))
                })
                .register_fn("add", |sum: &mut Sum, what: $what, by: FLOAT| {
                    $add(sum, &what, Weight::float(by)?)
                });
        };
    }
    weighted!(add_bucket, BucketObject);
    weighted!(add_window, WindowObject);
    weighted!(Sum::add_sum, Sum);
}

fn add_bucket(sum: &mut Sum, second: &BucketObject, weight: Weight) -> NativeResult<()> {
    sum.add_buckets(&second.taken, &second.counted, weight)
}

fn add_window(sum: &mut Sum, seconds: &WindowObject, weight: Weight) -> NativeResult<()> {
    sum.add_buckets(&seconds.taken, seconds.buckets(), weight)
}

/// Changes the tally and returns a copy, so that the call can end a script.
fn top(sum: &mut Sum, n: INT) -> NativeResult<Sum> {
    let Ok(n) = usize::try_from(n) else {
        return wrong(format!("top takes a whole number from 0 on, not {n}"));
    };
    sum.top(n)?;
    Ok(sum.clone())
}

fn names(sum: &Sum) -> NativeResult<Array> {
    Ok(sum.names()?.iter().map(text).collect())
}

fn text(name: &Arc<str>) -> Dynamic {
    ImmutableString::from(&**name).into()
}

/// The names of a list without those that exceed the longest name, which no tally has.
fn texts(names: &Array) -> NativeResult<Vec<String>> {
    let mut all = Vec::new();
    for name in names {
        meter::work(1)?;
        match name.as_immutable_string_ref() {
            Ok(name) if name.len() > meter::name_bytes() => {}
            Ok(name) => all.push(name.to_string()),
            Err(other) => {
                return wrong(format!("keep takes a list of names, and one of them is {other}"));
            }
        }
    }
    Ok(all)
}

fn show_window(seconds: &WindowObject) -> String {
    let window = seconds.window();
    format!("Window {{ from: {}, to: {} }}", window.from.0, window.until.0 - 1)
}

fn show_bucket(second: &BucketObject) -> String {
    format!("Bucket {{ at: {}, age: {}, total: {} }}", second.at, second.age(), second.total())
}
