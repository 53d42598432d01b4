//! Which appliance `status` and `tail` ask.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{base_url, filled};
use super::config_file::{ConfigFileArgs, load, report_all};
use super::output;
use crate::appliance::{ops_file, reachable};
use crate::config::{Config, Flag, InvalidConfig};
use crate::store;
use crate::supervise::Exit;

/// The appliance to ask.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ApplianceArgs {
    /// Public or ops address of the appliance. By default it is the one that runs on the data
    /// directory; if its address cannot be read, the addresses of the configuration are asked
    #[arg(long, value_name = "URL", value_parser = filled)]
    url: Option<String>,
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Data directory of the appliance
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The addresses to ask, without a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ApplianceAddress {
    /// `--url` names it.
    Named(String),
    /// The ops listener of the appliance that runs on the data directory.
    Running(String),
    /// Where the configuration says that an appliance listens, if it does.
    Configured {
        /// The ops listener.
        ops: Option<String>,
        /// The public listener.
        public: Option<String>,
    },
}

/// The addresses to ask. Prints why there are none, and returns the exit code.
pub(super) fn find(args: &ApplianceArgs) -> Result<ApplianceAddress, Exit> {
    if let Some(url) = &args.url {
        return Ok(ApplianceAddress::Named(base_url(url)?.to_owned()));
    }
    let dir = args.data.as_ref().map(|dir| dir.display().to_string());
    let flag = |value| Flag { name: "--data", key: "data.dir", value };
    let config = match load(&args.file, dir.into_iter().map(flag).collect()) {
        Ok(loaded) => loaded.config,
        Err(refused) if args.file.config.as_deref().is_some_and(is_missing) => {
            return Err(report_all(&refused));
        }
        // An appliance may run on what the file said when it started.
        Err(InvalidConfig { rest, .. }) => {
            output::to_stderr(
                "warning: the configuration is invalid (`ghpulse check` says why); using its \
                 valid keys to find the appliance",
            );
            rest.config
        }
    };
    let data = &config.data_dir;
    if store::is_in_use(data) {
        if let Some(url) = ops_file::address(data) {
            return Ok(ApplianceAddress::Running(url));
        }
    } else if store::is_readable(data) || (args.data.is_some() && is_missing(data)) {
        let reason = format_args!(
            "no ghpulse runs on {}: start it (`systemctl start ghpulse` or `ghpulse run`; its log \
             says why it ended), or name another with --data, --config or --url",
            data.display()
        );
        return Err(output::failed(Exit::Unavailable, reason));
    }
    Ok(configured(&config))
}

fn is_missing(path: &Path) -> bool {
    path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn configured(config: &Config) -> ApplianceAddress {
    let (server, ops) = (&config.server, config.ops_listen);
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let url = |scheme, address| format!("{scheme}://{}", reachable(address));
    let ops = ops.filter(|address| address.port() != 0).map(|address| url("http", address));
    let public = (server.port != 0).then(|| url(scheme, server.listen()));
    ApplianceAddress::Configured { ops, public }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    #[test]
    fn addresses_of_the_configuration_are_local_ones() {
        let of = |set: &[(&str, &str)]| {
            let set = set.iter().map(|(name, value)| (format!("GHPULSE_{name}"), (*value).into()));
            match configured(&load(&Request::of_variables(set.collect())).unwrap().config) {
                ApplianceAddress::Configured { ops, public } => [ops, public],
                other => panic!("{other:?}"),
            }
        };
        let some = |url: &str| Some(url.to_owned());
        let defaults = [some("http://127.0.0.1:8602"), some("http://127.0.0.1:8600")];
        assert_eq!(of(&[]), defaults);
        let (bind, port) = (("SERVER_BIND", "::"), ("SERVER_PORT", "81"));
        assert_eq!(of(&[bind, port])[1], some("http://[::1]:81"));
        let free = [("SERVER_PORT", "0"), ("OPS_LISTEN", "127.0.0.1:0")];
        assert_eq!(of(&free), [None, None]);
        assert_eq!(of(&[("OPS_LISTEN", "off")])[0], None);
        let tls = [("SERVER_TLS_CERT", "a"), ("SERVER_TLS_KEY", "b")];
        assert_eq!(of(&tls)[1], some("https://127.0.0.1:8600"));
    }
}
