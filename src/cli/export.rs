//! `ghpulse export`: writes hours of the journal as files named and shaped like GH Archive's.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::filled;
use super::output;
use super::store_access::{self, CommandFailure, StoreAccess, StoreArgs};
use crate::archive::{ArchiveTarget, Exported, WrittenHour, settled_until};
use crate::clock::Clock;
use crate::config::{self, HourFormat};
use crate::lists::{ListSet, Lists};
use crate::model::window::Timestamp;
use crate::private;
use crate::supervise::Exit;

/// The most lists of an export, as of a query of `/stream`.
const MOST_LISTS: usize = 10;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse export --since 24h --to /srv/hours\n  \
                        ghpulse export --since 2026-11-21 --until 2026-11-22 --to .\n  \
                        ghpulse export --since 24h --list mine --list '!bots' --to /srv/mine\n\n\
                        An event is in the file of the hour it was created in. Hours that ended \
                        less than 10 minutes ago are left out. An existing file is kept, and missing \
                        events are added. The journal reaches back as far as `store.journal.for` \
                        says; files of the hour that it begins in, and of earlier ones, are \
                        incomplete, which is reported.\n\n\
                        With --list only events on a list are written: files NAME.txt in \
                        `lists.dir`, as they are now. An event has to be on one of the lists and on \
                        none with a leading !. The .coverage.json beside each file names them. A \
                        file of other lists is not extended: use a directory of its own.\n\n\
                        `archive.dir` in the configuration does the same, hour by hour, and \
                        writes no file of an incomplete hour.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The first hour: a time (2026-11-21T05:00:00Z), a day, or how long ago (24h)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Timestamp,
    /// The hour to end before, as for --since [default: the last that is over]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Directory of the files; created when it does not exist
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// `json` lines as GH Archive's, `parquet` columns, or both
    #[arg(long, value_name = "FORM", default_value = "json", value_parser = form)]
    format: HourFormat,
    /// Only events on these lists; a leading ! excludes
    #[arg(long, value_name = "LIST", value_parser = filled, value_delimiter = ',')]
    list: Vec<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Exports the hours.
pub(super) fn export(args: &ExportArgs) -> Exit {
    if let Some(until) = args.until.filter(|until| until.hour() <= args.since.hour()) {
        output::to_stderr(&format!(
            "error: --until {until} is not later than the hour of --since {}: no hour lies between \
             them; give a later one",
            args.since
        ));
        return Exit::Usage;
    }
    store_access::run(async {
        let config = store_access::configured(&args.store)?;
        let lists = lists(&args.list, &config.lists.dir)?;
        let of = |dir: &Path| dir.canonicalize().or_else(|_| std::path::absolute(dir)).ok();
        let archive = config.archive_dir.as_deref().and_then(of);
        if !lists.is_empty() && archive.is_some() && archive == of(&args.to) {
            let to = args.to.display();
            let reason = format!(
                "--to {to} is `archive.dir`, whose files have all events; with \
                                  --list give another directory"
            );
            return Err(CommandFailure { exit: Exit::Usage, reason });
        }
        store_access::expect_store(&config.data_dir)?;
        let export = async |found: &StoreAccess| export_hours(args, lists, found).await;
        let exported = store_access::run_on(config, export).await?;
        Ok(say(args, &exported))
    })
}

/// The lists that the arguments name, in the directory of the configuration.
fn lists(terms: &[String], dir: &Path) -> Result<ListSet, CommandFailure> {
    let refused = |reason| CommandFailure { exit: Exit::Usage, reason };
    if terms.len() > MOST_LISTS {
        return Err(refused(format!("--list: an export takes up to {MOST_LISTS} lists")));
    }
    if terms.is_empty() {
        return Ok(ListSet::default());
    }
    let known = Lists::open(dir);
    let term = |term: &String| {
        known.term(term).map_err(|error| {
            let at = format!("; lists.dir is {}", dir.display());
            refused(format!("--list: {error}{at}"))
        })
    };
    Ok(ListSet::new(&terms.iter().map(term).collect::<Result<Vec<_>, _>>()?))
}

async fn export_hours(
    args: &ExportArgs,
    lists: ListSet,
    found: &StoreAccess,
) -> Result<Exported, CommandFailure> {
    private::create_open_dir_all(&args.to).map_err(|error| CommandFailure {
        exit: Exit::Io,
        reason: format!("cannot create {}: {error}", args.to.display()),
    })?;
    let settled = settled_until(Clock::system().now());
    let until = args.until.map_or(settled, |until| until.hour().min(settled));
    let dir = std::path::absolute(&args.to).unwrap_or_else(|_| args.to.clone());
    let to = ArchiveTarget { dir, format: args.format, hashes_emails: true, lists };
    found.export(args.since.hour(), until, to).await
}

fn say(args: &ExportArgs, exported: &Exported) -> Exit {
    if args.json {
        return output::json(exported);
    }
    if let Some(hour) = &exported.begins_within {
        output::to_stderr(&format!(
            "note: the journal begins in the hour {hour}; of earlier hours it has only events that \
             GitHub showed late"
        ));
    }
    if exported.hours.is_empty() {
        let on = if args.list.is_empty() { "" } else { " on these lists" };
        output::to_stderr(&format!(
            "note: the journal has no events{on} of finished hours in that time"
        ));
    }
    let line = |hour: &WrittenHour| {
        let cut = if hour.cut { "; the beginning of this hour may be missing" } else { "" };
        let simulated = if hour.simulated { "; simulated" } else { "" };
        let WrittenHour { file, events, fresh, .. } = hour;
        format!("{}: {events} events, {fresh} new{cut}{simulated}\n", file.display())
    };
    output::text(&exported.hours.iter().map(line).collect::<String>())
}

fn form(word: &str) -> Result<HourFormat, String> {
    let format =
        HourFormat::of(word).ok_or_else(|| format!("one of {}", HourFormat::WORDS.join(", ")))?;
    if format.has_columns() && !cfg!(feature = "parquet") {
        return Err("this build cannot write Parquet: build with --features parquet".to_owned());
    }
    Ok(format)
}

fn moment(text: &str) -> Result<Timestamp, String> {
    config::moment(text, Clock::system().now()).ok_or_else(|| {
        "give a time as 2026-11-21T05:00:00Z (UTC without the Z), a day, or how long ago (24h)"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::window::Hour;

    #[test]
    fn moments_are_times_days_or_how_long_ago() {
        let hour = |text: &str| moment(text).unwrap().hour();
        assert_eq!(hour("2026-11-21T05:59:00Z"), hour("2026-11-21T05:00:00Z"));
        assert_eq!(hour("2026-11-21T05:59:00"), hour("2026-11-21T05:00:00Z"));
        assert_eq!(hour("2026-11-21"), hour("2026-11-21T00:00:00Z"));
        let now = Clock::system().now().hour();
        let day_ago = hour("24h");
        assert!(Hour(now.0 - 24) <= day_ago && day_ago <= Hour(now.0 - 23));
        assert!(hour("1h30m") >= Hour(now.0 - 2));
        let last = moment("9999-12-31").unwrap();
        assert!(last > moment("9999-12-29").unwrap(), "{last} is after all others");
        assert_eq!(last, moment("9999-12-30").unwrap());
        for wrong in
            ["", "h", "yesterday", "1w", "-1h", "99999999999999999999h", "2026-11-21T05:00:00x"]
        {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
