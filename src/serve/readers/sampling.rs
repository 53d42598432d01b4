//! The three feeds: what a connection is told first, what its params mean, what it gets then.

use std::sync::Arc;
use std::time::Duration;

use super::params;
use super::params::BadParams;
use crate::hub::{
    Frame, FrameBatch, Hub, LanguageChanges, LatestLanguages, Notifier, SamplingSubscriber,
};

/// What one endpoint's connections get.
pub(crate) trait Feed: Send + 'static {
    /// The endpoint's path, as metrics and logs name it.
    const NAME: &'static str;
    /// Params that would be accepted.
    const EXAMPLE: &'static str;
    /// How often [`Self::beat`] is asked for something.
    const BEAT: Option<Duration> = None;

    /// What is told unasked.
    fn first(&mut self) -> Option<Frame>;

    /// Takes in params; bad ones change nothing.
    fn ask(&mut self, text: &str) -> Result<(), BadParams>;

    /// Whether good params are there without a message.
    fn has_asked(&self) -> bool {
        false
    }

    /// What is there now, up to a limit.
    fn take(&mut self) -> FrameBatch;

    /// How a refusal is told.
    fn complaint(&self, code: &'static str, bad: &BadParams) -> Frame {
        let field = serde_json::to_string(&bad.field).expect("a name can be written");
        let message = serde_json::to_string(&bad.message).expect("a text can be written");
        let head = format!(r#"{{"error":{{"code":"{code}","field":{field},"message":"#);
        Frame::text(&[&head, &message, "}}"])
    }

    /// What is told from time to time.
    fn beat(&mut self) -> Option<Frame> {
        None
    }

    /// What is told before the server stops, and the milliseconds after which to come back.
    fn bye(&mut self, _reason: &str, _retry_after: u64) -> Option<Frame> {
        None
    }
}

/// `/sampling`.
#[derive(Debug)]
pub(crate) struct Sampling {
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    paths: usize,
    member: Option<SamplingSubscriber>,
}

/// `/language/latest`.
#[derive(Debug)]
pub(crate) struct LanguageLatest {
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    latest: Option<LatestLanguages>,
}

/// `/language/watch`.
#[derive(Debug)]
pub(crate) struct LanguageWatch {
    watch: LanguageChanges,
    first: Option<Frame>,
}

impl Sampling {
    /// A filter has at most `paths` paths.
    pub(crate) fn new(hub: Arc<Hub>, notifier: Arc<Notifier>, paths: usize) -> Self {
        Self { hub, notifier, paths, member: None }
    }
}

impl Feed for Sampling {
    const NAME: &'static str = "/sampling";
    const EXAMPLE: &'static str = r#"{"samplingRate":1}"#;

    fn first(&mut self) -> Option<Frame> {
        Some(self.hub.latest_values().first_of_sampling())
    }

    fn ask(&mut self, text: &str) -> Result<(), BadParams> {
        let params = params::sampling(text, self.paths)?;
        self.member = Some(self.hub.subscribe(params.subscription, params.rate, &self.notifier));
        Ok(())
    }

    fn take(&mut self) -> FrameBatch {
        self.member.as_mut().map(SamplingSubscriber::take).unwrap_or_default()
    }
}

impl LanguageLatest {
    pub(crate) fn new(hub: Arc<Hub>, notifier: Arc<Notifier>) -> Self {
        Self { hub, notifier, latest: None }
    }
}

impl Feed for LanguageLatest {
    const NAME: &'static str = "/language/latest";
    const EXAMPLE: &'static str = r#"{"top":10}"#;

    fn first(&mut self) -> Option<Frame> {
        None
    }

    fn ask(&mut self, text: &str) -> Result<(), BadParams> {
        let query = params::latest(text)?;
        self.latest = Some(self.hub.latest_values().follow_languages(query, &self.notifier));
        Ok(())
    }

    fn take(&mut self) -> FrameBatch {
        one(self.latest.as_mut().and_then(LatestLanguages::take))
    }
}

impl LanguageWatch {
    pub(crate) fn new(hub: &Hub, notifier: &Arc<Notifier>) -> Self {
        let (watch, first) = hub.latest_values().watch_languages(notifier);
        Self { watch, first: Some(first) }
    }
}

impl Feed for LanguageWatch {
    const NAME: &'static str = "/language/watch";
    const EXAMPLE: &'static str = r#"{"language":["Java"]}"#;

    fn first(&mut self) -> Option<Frame> {
        self.first.take()
    }

    fn ask(&mut self, text: &str) -> Result<(), BadParams> {
        self.watch.ask(params::watch(text)?);
        Ok(())
    }

    fn take(&mut self) -> FrameBatch {
        one(self.watch.take())
    }
}

fn one(frame: Option<Frame>) -> FrameBatch {
    let frames: Vec<_> = frame.into_iter().collect();
    FrameBatch { messages: frames.len() as u64, frames, ..FrameBatch::default() }
}
