//! `ghpulse documents`: the files that a package installs next to the binary. Hidden from help,
//! because only packaging scripts call it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;
use crate::manual::{self, Form, PAGES};
use crate::metrics::monitoring;
use crate::supervise::Exit;

/// Arguments of `documents`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse documents target/documents")]
pub(super) struct DocumentsArgs {
    /// Directory for man/, completions/, manual/ and config/; made if it is missing
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

/// Writes man pages, completions of shells for `command`, the manual as HTML, the dashboard and the
/// rules.
pub(super) fn documents(args: &DocumentsArgs, command: &Command) -> Exit {
    match write(&args.to, command) {
        Ok(()) => output::text(&format!("wrote {}", args.to.display())),
        Err(error) => {
            let reason = format_args!("cannot write to {}: {error}", args.to.display());
            output::failed(Exit::Io, reason)
        }
    }
}

fn write(to: &Path, command: &Command) -> std::io::Result<()> {
    let below = |name: &str| {
        let dir = to.join(name);
        fs::create_dir_all(&dir).map(|()| dir)
    };
    clap_mangen::generate_to(command.clone(), below("man")?)?;
    let completions = below("completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "ghpulse", &completions)?;
    }
    let pages = below("manual")?;
    for name in PAGES.iter().map(|page| page.name).chain([manual::WHOLE]) {
        let html = manual::document(name, Form::Files).expect("a page of the table");
        let file = if name.is_empty() { "index" } else { name };
        fs::write(pages.join(format!("{file}.html")), html)?;
    }
    fs::write(pages.join(manual::STYLE_NAME), manual::STYLE.as_str())?;
    let config = below("config")?;
    fs::write(config.join(monitoring::DASHBOARD_FILE), monitoring::grafana_dashboard())?;
    fs::write(config.join(monitoring::RULES_FILE), monitoring::prometheus_rules())
}
