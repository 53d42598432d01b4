//! The table of endpoints. The router, the list in a 404, `/openapi.json` and `/asyncapi.json` are
//! generated from it, so everything served is documented.

mod about;
mod archive;
mod counts;
mod events;
mod history;
mod ledger;
mod operations;
mod sockets;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use http::{HeaderValue, Method};

use super::endpoint::{Endpoint, EndpointPath};
use crate::config::ServerConfig;
use crate::serve::http::peer::Audience;

/// All endpoints, in reading order.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = vec![about::page()];
    all.extend(sockets::all());
    all.extend(counts::all());
    all.push(events::endpoint());
    all.extend(history::all());
    all.extend(ledger::all());
    all.extend(archive::all());
    all.extend(about::all(self::all));
    all.extend(operations::all());
    all.into_iter().map(Endpoint::complete).collect()
}

/// The properties of a path, known before its handler runs.
pub(crate) struct EndpointRow {
    path: EndpointPath,
    pub(crate) audience: Audience,
    /// The value of `Allow`.
    pub(crate) allow: HeaderValue,
    /// Parameters of a GET with a fixed set of values.
    pub(crate) listed: Vec<(String, Vec<String>)>,
}

static ROWS: LazyLock<Vec<EndpointRow>> =
    LazyLock::new(|| all().iter().map(EndpointRow::of).collect());

/// The row of a path without the prefix. An exact path takes precedence over a parameter.
pub(crate) fn find(path: &str, config: &ServerConfig) -> Option<&'static EndpointRow> {
    let exact = ROWS.iter().find(|row| row.path.resolve(config) == path);
    exact.or_else(|| ROWS.iter().find(|row| row.path.covers(path)))
}

impl EndpointRow {
    /// Whether the method is allowed.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.allow.to_str().unwrap_or_default().split(", ").any(|known| known == method.as_str())
    }

    /// The methods except OPTIONS, as listed in the `Allow` header of a 405.
    pub(crate) fn methods(&self) -> HeaderValue {
        let allow = self.allow.to_str().unwrap_or_default().split(", ");
        let methods: Vec<&str> = allow.filter(|method| *method != "OPTIONS").collect();
        HeaderValue::from_str(&methods.join(",")).expect("names of methods")
    }

    fn of(endpoint: &Endpoint) -> Self {
        let mut methods = vec!["OPTIONS".to_owned()];
        for operation in &endpoint.operations {
            // A HEAD request would run the sync.
            let has_head = operation.method == "get" && endpoint.path != EndpointPath::SyncEvent;
            methods.extend(has_head.then(|| "HEAD".to_owned()));
            methods.push(operation.method.to_uppercase());
        }
        methods.sort();
        let parameters = endpoint.operations.iter().filter(|operation| operation.method == "get");
        let listed = parameters.flat_map(|operation| &operation.parameters).filter_map(|it| {
            let values = it["schema"]["enum"].as_array()?;
            let values = values.iter().map(|value| value.as_str().map(str::to_owned));
            Some((it["name"].as_str()?.to_owned(), values.collect::<Option<Vec<_>>>()?))
        });
        Self {
            path: endpoint.path,
            audience: endpoint.audience,
            allow: HeaderValue::from_str(&methods.join(", ")).expect("names of methods"),
            listed: listed.collect(),
        }
    }
}

/// The public endpoints with fixed paths, for the body of a 404.
pub(crate) fn listed() -> &'static [&'static str] {
    static LISTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let public = all().into_iter().filter(|endpoint| endpoint.audience == Audience::Public);
        let fixed = public.filter_map(|endpoint| match endpoint.path {
            EndpointPath::At(path) => Some(path),
            EndpointPath::Form(_) | EndpointPath::Health | EndpointPath::SyncEvent => None,
        });
        fixed.collect()
    });
    &LISTED
}
