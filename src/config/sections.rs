//! The structs of the configuration, generated from the rows in `keys`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::keys;
use super::secret::Secret;
use super::typed::{
    AlertFormat, AmqpConfig, Compression, Durability, HashEmails, HourFormat, LogFormat, Network,
    PulsarConfig,
};
use super::values::{ReadSection, Values};

macro_rules! sections {
    ($(
        $(#[$about:meta])*
        $vis:vis struct $section:ident {
            $($whose:ident $path:literal $(=> $field:ident: $type:ty)?, $kind:expr, $default:expr,
                $meaning:literal;)*
            $(+ $below:ident: $part:ty, $what:literal;)*
        }
    )*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq)]
            $vis struct $section {
                $($(#[doc = $meaning] pub $field: $type,)?)*
                $(#[doc = $what] pub $below: $part,)*
            }

            impl ReadSection for $section {
                fn read(values: &mut Values) -> Self {
                    $($(let $field = values.get::<$type>($path);)?)*
                    $(let $below = <$part as ReadSection>::read(values);)*
                    Self { $($($field,)?)* $($below,)* }
                }
            }
        )*
    };
}

keys!(sections);

impl ServerConfig {
    /// Address and port that the public server listens on; port 0 takes a free one.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}
