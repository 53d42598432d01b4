//! Makes any number of different events from one.

use std::collections::HashMap;
use std::fmt::Write as _;

use ghpulse::model::window::Timestamp;
use serde_json::value::RawValue;

/// The first event's id; GitHub's are decimal strings above 2^32.
const FIRST_ID: u64 = 50_000_000_000;
/// Most people and repositories. Small numbers are drawn more often, so most of the first events of
/// a day are new ones, and few of the last.
const PEOPLE: u64 = 1_500_000;
const REPOSITORIES: u64 = 3_000_000;
/// Distance of the ids of an object in two rounds: more than the ids of all templates span.
const ROUND: u64 = 10_000_000;

/// An event of which everything that identifies it is replaced.
pub struct EventTemplate {
    /// JSON of its type.
    kind: String,
    /// Its payload: text, and the id of an object after it.
    payload: Vec<(String, Option<u64>)>,
}

impl EventTemplate {
    /// The template of an event.
    pub fn of(event: &str) -> Self {
        const ID: &str = "\"id\":";
        let members: HashMap<&str, &RawValue> =
            serde_json::from_str(event).expect("an event is JSON");
        let mut rest = members["payload"].get();
        let mut payload = Vec::new();
        while let Some(at) = rest.find(ID) {
            let (text, behind) = rest.split_at(at + ID.len());
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            payload.push((text.to_owned(), behind[..digits].parse().ok()));
            rest = &behind[digits..];
        }
        payload.push((rest.to_owned(), None));
        Self { kind: members["type"].get().to_owned(), payload }
    }

    /// Appends the event with this number, which decides its person and repository. `round` decides
    /// the ids of its objects.
    pub fn write(&self, text: &mut String, number: u64, round: u64, at: Timestamp) {
        let mut random = fastrand::Rng::with_seed(number);
        let mut draw = |of: u64| {
            let most = random.u64(1..=of);
            random.u64(..most)
        };
        let (person, repository) = (draw(PEOPLE), draw(REPOSITORIES));
        let (id, kind) = (FIRST_ID + number, &self.kind);
        // Spread as GitHub's ids are.
        let (person_id, repository_id) = (person * 97 + 1_000, repository * 109 + 1_000);
        let name = format!("owner-{}/repository-{repository}", repository % 1_000_003);
        let wrote = write!(
            text,
            "{{\"id\":\"{id}\",\"type\":{kind},\
             \"actor\":{{\"id\":{person_id},\"login\":\"person-{person}\",\
             \"display_login\":\"person-{person}\",\"gravatar_id\":\"\",\
             \"url\":\"https://api.github.com/users/person-{person}\",\
             \"avatar_url\":\"https://avatars.githubusercontent.com/u/{person_id}?\"}},\
             \"repo\":{{\"id\":{repository_id},\"name\":\"{name}\",\
             \"url\":\"https://api.github.com/repos/{name}\"}},\"payload\":"
        );
        wrote.expect("a string takes it");
        for (part, id) in &self.payload {
            text.push_str(part);
            if let Some(id) = id {
                write!(text, "{}", id + round * ROUND).expect("a string takes it");
            }
        }
        write!(text, ",\"public\":true,\"created_at\":\"{at}\"}}").expect("a string takes it");
    }
}
