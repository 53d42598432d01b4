//! What a query may ask for, and its result for one object.

/// The names that a query uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// Computed node ids: short, and still correct after a repository was renamed.
    NodeIds,
    /// Owner, name and number: always possible.
    Names,
}

/// An object that can be asked for, together with others of its kind.
pub trait Queried: Sized {
    /// What GitHub reports of it.
    type Details: Clone + std::fmt::Debug + Send + Sync + 'static;
    /// Maximum number of objects in a query.
    const MOST: usize;

    /// Writes the request body.
    fn write(form: AskedBy, wanted: &[Self]) -> String;

    /// What the value of the object says; `None` when it is not the object that was asked for.
    fn details(&self, form: AskedBy, value: &str) -> Option<Self::Details>;
}

/// The result for one object, of which `D` is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectLookup<D> {
    /// It was found.
    Found(D),
    /// GitHub reports that it does not exist.
    Gone,
    /// The token's account may not see it, with GitHub's explanation; a token of another account
    /// may.
    Forbidden(String),
    /// The response does not mention it.
    Unanswered,
}
