//! The directory of scripts: each file next to the merge script is an aggregate of its name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::ReadGroups;
use super::member::AggregateCounter;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::lists::ListSet;
use crate::model::script_report::{AggregateReport, CounterReport, InForce};
use crate::model::window::Second;
use crate::script::rule::AggregateRule;
use crate::script::{
    MERGE_FILE, SHIPPED_ALL, ScriptDiagnostic, ScriptHost, ScriptKind, Trials, has_no_scripts,
};
use crate::store::keys::MetaKey;
use crate::store::{Store, StoreError};

/// The most scripted aggregates; of more files the first by name are used.
pub const AGGREGATES: usize = 16;
/// The most directory entries that are examined.
const ENTRIES: usize = 1_000;
/// The longest name of an aggregate, in bytes.
const NAME_BYTES: usize = 64;
/// Prefix of the store's keys for the last good texts.
const LAST_GOOD: &str = "script.aggregate.";

/// The aggregates of a directory by name, and the files that cannot be one.
type Files = (Vec<(String, PathBuf)>, Vec<ScriptDiagnostic>);

/// Hosts of the scripts, by name.
pub(super) struct ScriptFolder {
    path: PathBuf,
    store: Store,
    clock: Clock,
    hosts: BTreeMap<String, Arc<ScriptHost>>,
    /// Whether the directory was readable at the last check.
    readable: bool,
    /// Whether it was checked since the start.
    is_checked: bool,
}

impl ScriptFolder {
    /// Starts with the last good texts of an earlier run. Blocks.
    pub(super) fn open(path: &Path, store: &Store, clock: Clock) -> Result<Self, StoreError> {
        let mut kept = Vec::new();
        store.reader().scan(&MetaKey(LAST_GOOD.to_owned()), |MetaKey(key), value| {
            let Some(name) = key.strip_prefix(LAST_GOOD) else { return Ok(false) };
            kept.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            Ok(true)
        })?;
        let mut hosts = BTreeMap::new();
        for (name, text) in kept {
            let file = path.join(format!("{name}.rhai")).display().to_string();
            let trials = Some(Trials::read(store, &name)?);
            let host = ScriptHost::of(ScriptKind::Aggregate, &file, Some(&text), trials, clock);
            hosts.insert(name, Arc::new(host));
        }
        let (path, store) = (path.to_owned(), store.clone());
        Ok(Self { path, store, clock, hosts, readable: true, is_checked: false })
    }

    /// Checks all files: new or changed rules start counting, removed ones stop. Returns the
    /// errors. Blocks.
    pub(super) fn look(
        &mut self,
        groups: &mut ReadGroups,
        hub: &Hub,
        now: Second,
    ) -> Result<Vec<ScriptDiagnostic>, StoreError> {
        let mut troubles = Vec::new();
        // A directory that is missing at the start is an empty one: it is not one that was there
        // and is temporarily unavailable.
        if !std::mem::replace(&mut self.is_checked, true) && has_no_scripts(&self.path) {
            self.forget_all_but(&[], groups, hub);
        }
        match files(&self.path) {
            // There are no user's scripts: the built-in ones are in force.
            _ if self.is_bare() => {
                self.readable = true;
                for (name, _) in &SHIPPED_ALL[1..] {
                    let file = self.path.join(format!("{name}.rhai"));
                    self.refresh(name, &file, groups, now)?;
                }
            }
            Ok((files, refused)) => {
                troubles = refused;
                self.readable = true;
                self.forget_all_but(&files, groups, hub);
                for (name, file) in files {
                    self.refresh(&name, &file, groups, now)?;
                }
            }
            // A directory that is temporarily unreadable must not remove working aggregates.
            Err(error) => {
                let is_expected = self.hosts.is_empty() && error.kind() == io::ErrorKind::NotFound;
                if std::mem::replace(&mut self.readable, false) && !is_expected {
                    tracing::warn!(folder = %self.path.display(), %error, "cannot be read");
                }
            }
        }
        for (name, host) in &self.hosts {
            let unlisted = self.count_by_rule((name, host), groups, hub, now)?;
            let found = groups.of_script(name);
            let caught_up = found.is_some_and(|(_, caught_up)| caught_up);
            let usage = found.map(|(counter, _)| (&counter.usage, &counter.rule));
            let mut script = host.report();
            if let Some(unlisted) = unlisted {
                script.state.error.get_or_insert_with(|| unlisted.reason.clone());
                troubles.push(unlisted);
            }
            hub.aggregates.open(name).describe(AggregateReport {
                name: name.as_str().into(),
                script,
                counter: CounterReport {
                    counts: host.rule().map(|rule| rule.report()),
                    counted: usage.map(|(usage, _)| usage.counted()),
                    note: usage.and_then(|(usage, rule)| usage.words(rule)),
                    reading: found.is_some() && !caught_up,
                },
            });
            troubles.extend(host.status().diagnostic().cloned());
            let mistaken = usage.filter(|(usage, _)| usage.is_mistaken());
            troubles.extend(mistaken.and_then(|(usage, rule)| {
                let (file, reason) = (Arc::clone(&host.status().file), usage.words(rule)?);
                Some(ScriptDiagnostic { file, line: None, column: None, reason })
            }));
        }
        Ok(troubles)
    }

    /// New counters in place of those of the scripts, by the same rules and names.
    pub(super) fn counted_again(&self, groups: &ReadGroups) -> Vec<AggregateCounter> {
        let again = self.hosts.iter().filter_map(|(name, host)| {
            let (counter, _) = groups.of_script(name)?;
            let by = (counter.rule.clone(), counter.lists.clone());
            Some(AggregateCounter::script_of(name, Arc::clone(host), by))
        });
        again.collect()
    }

    /// Counts anew when the rule of a script has changed, or a list that it names. Returns what is
    /// wrong with its lists.
    ///
    /// An aggregate is a fold over the journal with one set of names, so that a restart gives the
    /// same numbers. A rule whose list does not exist counts nothing; a list that is removed later
    /// keeps its names until the next start.
    fn count_by_rule(
        &self,
        (name, host): (&str, &Arc<ScriptHost>),
        groups: &mut ReadGroups,
        hub: &Hub,
        now: Second,
    ) -> Result<Option<ScriptDiagnostic>, StoreError> {
        let rule = host.rule();
        let terms = rule.as_ref().map_or(&[][..], AggregateRule::lists).iter();
        let terms = terms.map(|term| hub.lists.term(term)).collect::<Result<Vec<_>, _>>();
        let (lists, trouble) = match terms {
            Ok(terms) => (Some(ListSet::new(&terms).fixed()), None),
            Err(error) => {
                let (file, reason) = (Arc::clone(&host.status().file), error.to_string());
                let reason = format!("where: list: {reason}");
                (None, Some(ScriptDiagnostic { file, line: None, column: None, reason }))
            }
        };
        let counter = groups.of_script(name).map(|(counter, _)| counter);
        let has_rule = counter.map(|counter| &counter.rule) == rule.as_ref();
        let has_lists = lists
            .as_ref()
            .is_none_or(|lists| counter.is_some_and(|counter| counter.lists.has_names_of(lists)));
        if has_rule && (rule.is_none() || has_lists) {
            return Ok(trouble);
        }
        if has_rule {
            tracing::info!(aggregate = name, "a list has changed; its window is counted again");
        }
        groups.remove(name);
        if let Some(counted) = rule.zip(lists) {
            let member = AggregateCounter::script_of(name, Arc::clone(host), counted);
            groups.add(self.store.reader(), member, now)?;
        }
        Ok(trouble)
    }

    /// Whether the directory is missing or has no script, and no script of it is still in force.
    fn is_bare(&self) -> bool {
        has_no_scripts(&self.path)
            && self.hosts.values().all(|host| host.status().in_force == InForce::BuiltIn)
    }

    fn refresh(
        &mut self,
        name: &str,
        file: &Path,
        groups: &ReadGroups,
        now: Second,
    ) -> Result<(), StoreError> {
        if !self.hosts.contains_key(name) {
            let trials = Some(Trials::read(&self.store, name)?);
            let file = file.display().to_string();
            let host = ScriptHost::of(ScriptKind::Aggregate, &file, None, trials, self.clock);
            self.hosts.insert(name.to_owned(), Arc::new(host));
        }
        let host = &self.hosts[name];
        let kept = host.refresh(file, |rule| {
            // Counts of the previous rule do not apply to this one.
            let (counter, caught_up) = groups.of_script(name)?;
            (caught_up && Some(&counter.rule) == rule).then(|| counter.window(now))
        });
        if let Some(text) = kept {
            self.keep(name, Some(&text));
        }
        Ok(())
    }

    /// A deleted file means that the aggregate is not wanted any more.
    fn forget_all_but(&mut self, files: &[(String, PathBuf)], groups: &mut ReadGroups, hub: &Hub) {
        let gone = |name: &&String| !files.iter().any(|(file, _)| file == *name);
        let gone: Vec<String> = self.hosts.keys().filter(gone).cloned().collect();
        for name in gone {
            self.hosts.remove(&name);
            groups.remove(&name);
            hub.aggregates.close(&name);
            self.keep(&name, None);
            tracing::info!(aggregate = name, "script file removed; aggregate removed");
        }
    }

    /// Stores a good text for the next start, or removes it. Runs on the blocking pool.
    fn keep(&self, name: &str, text: Option<&str>) {
        let key = MetaKey(format!("{LAST_GOOD}{name}"));
        let text = text.map(|text| text.as_bytes().to_vec());
        if let Err(error) = self.store.keep(key, text) {
            tracing::error!(%error, "cannot store the script in force for the next start");
        }
    }
}

/// The files of aggregates in a directory, sorted by name, and the files that cannot be one.
pub fn files(folder: &Path) -> io::Result<Files> {
    let entries = std::fs::read_dir(folder)?;
    let (mut files, mut refused) = Files::default();
    let mut refuse = |path: &Path, reason: String| {
        let file = path.display().to_string().into();
        refused.push(ScriptDiagnostic { file, line: None, column: None, reason });
    };
    for entry in entries.take(ENTRIES) {
        let path = entry?.path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "rhai")) else {
            continue;
        };
        // Editors and deployments create hidden files next to the real ones.
        if path.ends_with(MERGE_FILE) || name.starts_with('.') {
            continue;
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.len() > NAME_BYTES || !name.chars().all(is_plain) {
            let most = format!("at most {NAME_BYTES} letters, digits, `_` and `-`");
            refuse(&path, format!("invalid aggregate name: use {most}"));
            continue;
        }
        files.push((name, path));
    }
    files.sort();
    for (_, path) in files.iter().skip(AGGREGATES) {
        refuse(path, format!("more than {AGGREGATES} aggregates; only the first by name are used"));
    }
    files.truncate(AGGREGATES);
    refused.sort_by(|a, b| a.file.cmp(&b.file));
    Ok((files, refused))
}
