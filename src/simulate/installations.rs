//! The GitHub App that the simulated GitHub knows, its installations and their tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::window::Timestamp;
use crate::secrets::SigningKey;

/// The prefix of tokens.
pub(super) const PREFIX: &str = "ghs_";
/// The usual life of a token.
const HOUR: Duration = Duration::from_secs(3_600);

/// A GitHub App that the simulated GitHub knows.
#[derive(Debug, Clone)]
pub struct SimulatedApp {
    /// Its id.
    pub id: String,
    /// The public key, as [`SigningKey::public`] returns it.
    pub public_key: Vec<u8>,
    /// How long a token is valid.
    pub token_for: Duration,
    /// The login of each installation's account, by the installation's id.
    pub installations: BTreeMap<u64, String>,
}

impl SimulatedApp {
    /// An app with this private key, PEM, and these accounts, whose installations are numbered
    /// from 1.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn new(id: &str, key: &[u8], accounts: &[&str]) -> Result<Self, String> {
        let installations = (1..).zip(accounts).map(|(id, login)| (id, (*login).to_owned()));
        Ok(Self {
            id: id.to_owned(),
            public_key: SigningKey::parse(key)?.public(),
            token_for: HOUR,
            installations: installations.collect(),
        })
    }
}

/// The app, and the tokens that were given.
#[derive(Default)]
pub(super) struct AppState {
    pub(super) app: Option<SimulatedApp>,
    /// Installations that are suspended.
    pub(super) suspended: Vec<u64>,
    /// When the token of each installation's number expires.
    given: BTreeMap<(u64, u64), Timestamp>,
}

impl AppState {
    pub(super) fn new(app: Option<SimulatedApp>) -> Self {
        Self { app, ..Self::default() }
    }

    /// Records a token, by its installation and number.
    pub(super) fn give(&mut self, token: (u64, u64), until: Timestamp) {
        self.given.insert(token, until);
    }

    /// Removes an installation; its tokens end.
    pub(super) fn remove(&mut self, installation: u64) {
        if let Some(app) = &mut self.app {
            app.installations.remove(&installation);
        }
        self.given.retain(|(of, _), _| *of != installation);
    }

    /// Number of tokens given to an installation and not ended by its removal.
    pub(super) fn tokens(&self, installation: u64) -> usize {
        self.given.keys().filter(|(of, _)| *of == installation).count()
    }

    /// Whether a token is accepted: one of an installation must have been given, and not be over.
    pub(super) fn accepts(&self, token: &str, now: Timestamp) -> bool {
        let (Some(_), Some(rest)) = (&self.app, token.strip_prefix(PREFIX)) else { return true };
        let numbers = rest.split_once('/').and_then(|(installation, number)| {
            Some((installation.parse().ok()?, number.parse().ok()?))
        });
        numbers.is_some_and(|numbers: (u64, u64)| {
            !self.suspended.contains(&numbers.0)
                && self.given.get(&numbers).is_some_and(|until| *until > now)
        })
    }
}
