//! Macros for types that are text outside of the program: in JSON, metrics, queries and on the
//! command line.

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
