//! Responses that are the same for all clients: computed at most once every few seconds.

use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::json;
use crate::serve::http::negotiation::JSON;
use crate::serve::http::problem::{HttpResult, Problem};

/// Responses shared by all clients, each with the time at which it expires.
#[derive(Debug, Default)]
pub(crate) struct SharedResponses([Mutex<Option<(Instant, Bytes)>>; 4]);

/// Which shared response; it determines how long the response is fresh.
#[derive(Debug, Clone, Copy)]
pub(super) enum SharedResponse {
    Recent,
    Day,
    Now,
    Year,
}

impl SharedResponse {
    fn fresh_for(self) -> Duration {
        match self {
            Self::Now => Duration::from_secs(1),
            Self::Recent => Duration::from_secs(3),
            Self::Day => Duration::from_secs(20),
            Self::Year => Duration::from_secs(30),
        }
    }
}

impl SharedResponses {
    /// Returns a shared response. Requests that arrive while it is computed wait for it.
    pub(super) async fn get<T: Serialize>(
        &self,
        which: SharedResponse,
        clock: Clock,
        made: impl Future<Output = Result<T, Problem>>,
    ) -> HttpResult {
        let mut kept = self.0[which as usize].lock().await;
        let now = clock.instant();
        let bytes = match &*kept {
            Some((until, bytes)) if now < *until => bytes.clone(),
            _ => {
                let bytes = Bytes::from(json::encoded(&made.await?));
                *kept = Some((now + which.fresh_for(), bytes.clone()));
                bytes
            }
        };
        drop(kept);
        let age = format!("public, max-age={}", which.fresh_for().as_secs());
        let kind = [(header::CONTENT_TYPE, JSON)];
        Ok((kind, [(header::CACHE_CONTROL, age)], bytes).into_response())
    }
}
