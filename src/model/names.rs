//! Enums whose variants have names, in JSON, metrics, queries and on the command line.

/// Gives an enum without fields `ALL`, its variants in order, and `name`.
macro_rules! names {
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
