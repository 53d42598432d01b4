//! `ghpulse inspect [FAMILY]`: prints the contents of a store.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::args::filled;
use super::output;
use super::store_access::{self, CommandFailure, StoreArgs};
use crate::model::json::encoded;
use crate::store::Reader;
use crate::store::inspect::{self, InspectedFamily, Inspection};
use crate::supervise::Exit;

/// The most characters of a value in the text output.
const VALUE_CHARS: usize = 400;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse inspect\n  ghpulse inspect hours --prefix 2026-11-22\n  \
                        ghpulse inspect rejects --last\n  ghpulse inspect journal --limit 3 --json\n\n\
                        Without a column family: lists all of them, with rows and bytes as RocksDB \
                        estimates them. With one: prints its first rows by key; long values are cut \
                        unless --json is given."
)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Column family, such as journal, hours, rejects or dead
    #[arg(value_name = "FAMILY", value_parser = filled)]
    family: Option<String>,
    /// Prints only rows whose key begins with this text
    #[arg(long, value_name = "TEXT", value_parser = filled, requires = "family")]
    prefix: Option<String>,
    /// Most rows to print
    #[arg(long, value_name = "ROWS", default_value_t = 20, requires = "family",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Prints the last rows, which are the newest in most families, instead of the first
    #[arg(long, requires = "family", conflicts_with = "prefix")]
    last: bool,
    /// Prints one line of JSON per row
    #[arg(long)]
    json: bool,
}

/// Prints the rows, read by the running appliance if there is one.
pub(super) fn inspect(args: &InspectArgs) -> Exit {
    store_access::run(look(args))
}

async fn look(args: &InspectArgs) -> Result<Exit, CommandFailure> {
    let Some(family) = args.family.clone() else {
        let asked = json!({ "family": null, "prefix": "", "limit": 1 });
        let look = |reader: Reader<'_>| Ok(inspect::families(reader)?);
        let families = store_access::inspect(&args.store, asked, look).await?;
        return Ok(if args.json { lines(&families) } else { output::text(&table(&families)) });
    };
    let (prefix, limit) = (args.prefix.clone().unwrap_or_default(), args.limit.into());
    let mut asked = json!({ "family": family, "prefix": prefix, "limit": limit });
    let last = args.last;
    if last {
        // An appliance of an earlier version does not know it.
        asked["last"] = true.into();
    }
    let look = move |reader: Reader<'_>| {
        if last {
            inspect::last_rows(reader, &family, limit)
        } else {
            inspect::rows(reader, &family, &prefix, limit)
        }
    };
    let looked = store_access::inspect(&args.store, asked, look).await?;
    let printed = if args.json { lines(&looked.rows) } else { output::text(&rows(&looked)) };
    if looked.gave_up {
        output::to_stderr(
            "note: gave up after too many rows with other keys; give a longer --prefix",
        );
    } else if looked.more {
        let is_full = looked.rows.len() < usize::from(args.limit);
        output::to_stderr(if is_full {
            "note: there are more rows, too large for one answer; use --last or --prefix"
        } else {
            "note: there are more rows; use --limit, --last or --prefix"
        });
    }
    Ok(printed)
}

fn lines(rows: &[impl serde::Serialize]) -> Exit {
    output::json_lines(&rows.iter().map(|row| encoded(row) + "\n").collect::<String>())
}

fn table(families: &[InspectedFamily]) -> String {
    let mut out = format!("{:<9} {:>12} {:>10}  holds\n", "family", "about rows", "bytes");
    for look in families {
        let bytes = output::bytes(look.about_bytes);
        writeln!(out, "{:<9} {:>12} {:>10}  {}", look.family, look.about_rows, bytes, look.holds)
            .expect("a string takes all");
    }
    out
}

fn rows(looked: &Inspection) -> String {
    let mut out = String::new();
    for row in &looked.rows {
        let value = output::plain(row.value.get());
        let shown: String = value.chars().take(VALUE_CHARS).collect();
        let cut = if shown.len() < value.len() { "…" } else { "" };
        writeln!(out, "{}  {shown}{cut}", output::plain(&row.key)).expect("a string takes all");
    }
    out
}
