//! Enums whose variants have names, in JSON, metrics, queries and on the command line.

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
