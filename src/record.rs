//! `User`: the one record of the pipeline, and the only list of its 13 fields.
//!
//! - `api`: from the Random User API's JSON to a [`User`] (the formatter), less every secret
//! - `timestamp`: dates as the wire carries them
//! - `text`: strings borrowed from the buffer they came in
//! - to and from the wire: [`crate::encoding`]
//!
//! The wire JSON, the DDL (`schema.cql`, `init-schema`) and the binds of every sink follow from [`COLUMNS`].

mod api;
mod text;
mod timestamp;

pub use api::{Rejection, format, identity_of, without_secrets};
pub use text::{NumberOrText, Text};
pub use timestamp::Timestamp;

use serde::Serialize;
use uuid::Uuid;

/// The type of a column, as every store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// A UUID; the primary key.
    Uuid,
    /// UTF-8 text.
    Text,
    /// A point in time with millisecond precision, UTC.
    Timestamp,
}

/// One column of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name on the wire and in every table.
    pub name: &'static str,
    /// The type.
    pub kind: ColumnType,
}

/// The value of one column, borrowed from a [`User`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A [`ColumnType::Uuid`] value.
    Uuid(Uuid),
    /// A [`ColumnType::Text`] value.
    Text(&'a str),
    /// A [`ColumnType::Timestamp`] value.
    Timestamp(Timestamp),
}

/// From one list of fields: the struct, [`COLUMNS`] and [`User::value`].
macro_rules! record {
    ($($(#[$doc:meta])* $field:ident: $kind:ident,)+) => {
        /// A user as the pipeline carries it: exactly the 13 fields of the demos, in their order.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct User {
            $($(#[$doc])* pub $field: record!(@type $kind),)+
        }

        /// The columns, in the order of the fields of [`User`].
        pub const COLUMNS: &[Column] = &[
            $(Column { name: stringify!($field), kind: ColumnType::$kind },)+
        ];

        impl User {
            /// The value of the column with this name.
            pub fn value(&self, column: &str) -> Option<Value<'_>> {
                match column {
                    $(stringify!($field) => Some(record!(@value $kind self.$field)),)+
                    _ => None,
                }
            }
        }
    };
    (@type Uuid) => { Uuid };
    (@type Text) => { String };
    (@type Timestamp) => { Timestamp };
    (@value Text $place:expr) => { Value::Text(&$place) };
    (@value $kind:ident $place:expr) => { Value::$kind($place) };
}

record! {
    /// UUIDv5 of the person's stable API fields; key of the topic and of every table.
    id: Uuid,
    /// Given name.
    first_name: Text,
    /// Family name.
    last_name: Text,
    /// `female` or `male`, as the API says.
    gender: Text,
    /// E-mail address.
    email: Text,
    /// Login name.
    username: Text,
    /// Telephone number, as the API formats it.
    phone: Text,
    /// `{number} {street}, {city}, {state}, {country}`.
    address: Text,
    /// Postal code, text so that leading zeros survive.
    post_code: Text,
    /// Date of birth.
    dob: Timestamp,
    /// When the person registered.
    registered_date: Timestamp,
    /// URL of the medium portrait.
    picture: Text,
    /// When the user was fetched; also the write time of the row.
    timestamp: Timestamp,
}
