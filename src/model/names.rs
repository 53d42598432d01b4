//! Macros for types that are text outside of the program: in JSON, metrics, queries and on the
//! command line; and the known name that a mistyped one is probably meant to be.

/// Declares an enum without fields whose variants have names: `ALL` has them in order, `name` is
/// the name of each. The second form adds these to an enum that is declared elsewhere.
macro_rules! names {
    ($(#[$about:meta])* $vis:vis enum $of:ident {
        $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $of {
            $($(#[$doc])* $variant),+
        }

        $crate::model::names::names!($of { $($variant: $name),+ });
    };
    ($of:ident { $($variant:ident: $name:literal),+ $(,)? }) => {
        impl $of {
            /// All, in their order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its name outside of the program.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

pub(crate) use names;

/// Describes a type as a text, optionally of a format, in JSON schemas.
macro_rules! text_schema {
    ($of:ident $(, $format:literal)?) => {
        impl schemars::JsonSchema for $of {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($of).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" $(, "format": $format)? })
            }
        }
    };
}

pub(super) use text_schema;

/// The known name that is nearest to `text`, ignoring case; `None` if it differs in more than a
/// quarter of the characters of `text` (1 to 4), or if `text` has more than 100 bytes.
#[must_use]
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if text.len() > LONGEST {
        return None;
    }
    let lower = text.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let known = known.into_iter().map(|name| (distance(name), name));
    let (found, name) = known.min_by_key(|(far, _)| *far)?;
    (found <= (lower.len() / 4).clamp(1, 4)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_names_within_a_typing_error_are_near() {
        let known = ["types", "repos", "PullRequestEvent"];
        assert_eq!(nearest("type", known), Some("types"));
        assert_eq!(nearest("tpyes", known), Some("types"));
        assert_eq!(nearest("pullrequest", known), None);
        assert_eq!(nearest("PullRequest_Event", known), Some("PullRequestEvent"));
        assert_eq!(nearest("", ["ab"]), None);
        assert_eq!(nearest(&"x".repeat(101), known), None);
        assert_eq!(nearest("type", []), None);
    }
}
