//! `ghpulse export`: writes hours of the journal as files named and shaped like GH Archive's.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output;
use super::store_access::{self, CommandFailure, StoreAccess, StoreArgs};
use crate::archive::{Exported, WrittenHour, settled_until};
use crate::clock::Clock;
use crate::config::{self, HourFormat};
use crate::model::window::Timestamp;
use crate::private;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse export --since 24h --to /srv/hours\n  \
                        ghpulse export --since 2026-11-21 --until 2026-11-22 --to .\n\n\
                        An event is in the file of the hour it was created in. Hours that ended \
                        less than 10 minutes ago are left out. An existing file is kept, and missing \
                        events are added. The journal reaches back as far as `store.journal.for` \
                        says; files of the hour that it begins in, and of earlier ones, are \
                        incomplete, which is reported.\n\n\
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
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Exports the hours.
pub(super) fn export(args: &ExportArgs) -> Exit {
    if let Some(until) = args.until.filter(|until| until.hour() <= args.since.hour()) {
        output::complain(&format!(
            "error: --until {until} is not later than the hour of --since {}: no hour lies between \
             them; give a later one",
            args.since
        ));
        return Exit::Usage;
    }
    store_access::run(async {
        let found = store_access::find_existing(&args.store).await;
        let exported =
            store_access::run_on(found, async |found| export_hours(args, found).await).await?;
        Ok(say(args, &exported))
    })
}

async fn export_hours(args: &ExportArgs, found: &StoreAccess) -> Result<Exported, CommandFailure> {
    private::create_open_dir_all(&args.to).map_err(|error| CommandFailure {
        exit: Exit::Io,
        reason: format!("cannot create {}: {error}", args.to.display()),
    })?;
    let settled = settled_until(Clock::system().now());
    let until = args.until.map_or(settled, |until| until.hour().min(settled));
    found.export(args.since.hour(), until, (&args.to, args.format)).await
}

fn say(args: &ExportArgs, exported: &Exported) -> Exit {
    if args.json {
        return output::json(exported);
    }
    if let Some(hour) = &exported.begins_within {
        output::complain(&format!(
            "note: the journal begins in the hour {hour}; earlier events are not in it"
        ));
    }
    if exported.hours.is_empty() {
        output::complain("note: the journal has no events of finished hours in that time");
    }
    let line = |hour: &WrittenHour| {
        let cut = if hour.cut { "; the beginning of this hour may be missing" } else { "" };
        let WrittenHour { file, events, fresh, .. } = hour;
        format!("{}: {events} events, {fresh} new{cut}\n", file.display())
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
        for wrong in
            ["", "h", "yesterday", "1w", "-1h", "99999999999999999999h", "2026-11-21T05:00:00x"]
        {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
