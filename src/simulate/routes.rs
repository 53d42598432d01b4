//! The routes of the simulated GitHub, and the task that serves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::map_response_with_state;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use super::apps;
use super::graphql;
use super::server::{events, mark, not_found, rate_limit, root};
use super::single;
use super::state::SharedWorld;
use super::user;

/// How long open connections may take to end once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `stop` is cancelled.
pub(super) async fn run(listener: TcpListener, shared: Arc<SharedWorld>) -> anyhow::Result<()> {
    let (stop, clock) = (shared.stop.clone(), shared.clock);
    let router = Router::new()
        .route("/", get(root))
        .route("/rate_limit", get(rate_limit))
        .route("/events", get(events))
        .route("/repos/{owner}/{name}/events", get(single::repository))
        .route("/repositories/{id}/events", get(single::by_id))
        .route("/orgs/{org}/events", get(single::organization))
        .route("/users/{login}/events/public", get(single::person))
        .route("/user", get(user::user))
        .route("/app/installations", get(apps::installations))
        .route("/app/installations/{id}/access_tokens", post(apps::access_token))
        .route("/graphql", post(graphql::query))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(map_response_with_state(Arc::clone(&shared), mark))
        .with_state(shared)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| {
        // Small responses must not be delayed by Nagle's algorithm; if the option is refused, they
        // are.
        let _ = stream.set_nodelay(true);
    });
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        clock.sleep(GRACE).await;
    };
    tokio::select! {
        ended = serving => ended.context("the simulated GitHub cannot serve"),
        () = late => Ok(()),
    }
}
