//! The result of a query for one object.

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
