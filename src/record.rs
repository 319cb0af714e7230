//! `User`: the one record of the pipeline, and the only list of its 13 fields and of the optional ones (`--with`).
//!
//! - `api`: from the Random User API's JSON to a [`User`] (the formatter), less every secret
//! - `secrets`: that JSON less its secrets, for who keeps it
//! - `cursor`: a walk over JSON that is known to be valid
//! - `optional`: optional columns out of JSON
//! - `timestamp`: dates as the wire carries them
//! - `text`: strings borrowed from the buffer they came in
//! - `wire`: the JSON of a record, which is also where a [`User`] keeps its texts
//! - to and from any wire format: [`crate::encoding`]
//!
//! The wire JSON, the DDL (`schema.cql`, `init-schema`) and the binds of every sink follow from [`COLUMNS`]
//! and [`OPTIONAL_COLUMNS`].

mod api;
mod cursor;
mod optional;
mod secrets;
mod text;
mod timestamp;
mod wire;

pub use api::{Rejection, format, identity_of};
pub use secrets::without_secrets;
pub use text::{NumberOrText, Text};
pub use timestamp::Timestamp;

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;
use uuid::Uuid;

use optional::{Names, Scalar};

/// The type of a column, as every store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// A UUID; the primary key.
    Uuid,
    /// UTF-8 text.
    Text,
    /// A point in time with millisecond precision, UTC.
    Timestamp,
    /// A signed integer of 32 bits.
    Int,
    /// A floating-point number of 64 bits.
    Double,
}

/// One column of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name on the wire and in every table.
    pub name: &'static str,
    /// The type.
    pub kind: ColumnType,
    /// Where an optional column comes from in the API's JSON, as a JSON pointer; `None` for the 13 that every record has.
    pub source: Option<&'static str>,
    field: Field,
}

impl Column {
    /// Whether it is one of those that `--with` adds.
    pub fn is_optional(&self) -> bool {
        self.source.is_some()
    }
}

/// The column of this name, of either list.
pub fn column(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().chain(OPTIONAL_COLUMNS).find(|column| column.name == name)
}

/// The value of one column, borrowed from a [`User`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A [`ColumnType::Uuid`] value.
    Uuid(Uuid),
    /// A [`ColumnType::Text`] value.
    Text(&'a str),
    /// A [`ColumnType::Timestamp`] value.
    Timestamp(Timestamp),
    /// A [`ColumnType::Int`] value.
    Int(i32),
    /// A [`ColumnType::Double`] value.
    Double(f64),
}

/// From two lists of fields: [`User`] and its ways in and out, [`Fields`], [`COLUMNS`], [`OPTIONAL_COLUMNS`], and the way of
/// the optional ones from JSON.
macro_rules! record {
    (
        required { $($(#[$doc:meta])* $field:ident: $kind:ident,)+ }
        optional { $($(#[$more_doc:meta])* $more:ident: $more_kind:ident = $source:literal,)+ }
    ) => {
        /// The 13 values of a [`User`], borrowed: what one is made of, and what can be asked of it.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Fields<'a> {
            $($(#[$doc])* pub $field: record!(@type $kind),)+
        }

        /// A user as the pipeline carries it: the 13 fields of the demos in their order, and what `--with` asks for.
        ///
        /// The texts are in one buffer, and that is the user's JSON on the wire wherever no text needs an escape: so a record
        /// that came from the bus in that form is copied nowhere on its way to a sink, and one that was made here is
        /// encoded once. Cheap to clone.
        #[derive(Clone)]
        pub struct User {
            $($field: record!(@kept $kind),)+
            buffer: ByteString,
            /// Whether the buffer is the JSON of the 13 fields, and not just where the texts are.
            is_wire: bool,
            /// Behind a pointer, so that who asks for none pays for none.
            extras: Option<Box<Extras>>,
        }

        /// The optional columns of a [`User`]: each is there or not.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub struct Extras {
            $(
                $(#[$more_doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $more: Option<record!(@owned $more_kind)>,
            )+
        }

        /// Which field a column is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "they are the names of the columns")]
        enum Field { $($field,)+ $($more,)+ }

        /// The columns that every record has, in the order of the fields of [`Fields`].
        pub const COLUMNS: &[Column] = &[
            $(Column { name: stringify!($field), kind: ColumnType::$kind, source: None, field: Field::$field },)+
        ];

        /// The columns that `--with` adds, in the order of the fields of [`Extras`].
        pub const OPTIONAL_COLUMNS: &[Column] = &[
            $(Column {
                name: stringify!($more), kind: ColumnType::$more_kind, source: Some($source), field: Field::$more,
            },)+
        ];

        impl User {
            /// A user with these values. They are copied, once.
            pub fn new(fields: Fields<'_>, extras: Option<Box<Extras>>) -> Self {
                const FRAME_BYTES: usize = 2 $(+ wire::key_bytes(stringify!($field)) + record!(@bytes $kind))+;
                let mut writer = wire::Writer::new(FRAME_BYTES $(+ record!(@length $kind fields.$field))+);
                $(let $field = record!(@put $kind writer, wire::key!($field), fields.$field);)+
                let (buffer, is_wire) = writer.end();
                Self { $($field,)+ buffer, is_wire, extras }
            }

            /// The user of a value in exactly the form that [`User::wire`] gives: one look at each byte, and no copy. `None`
            /// for all else, whatever it is.
            pub fn of_wire(value: &Bytes) -> Option<Self> {
                let buffer = ByteString::try_from(value.clone()).ok()?;
                let mut reader = wire::Reader::new(&buffer)?;
                $(let $field = record!(@take $kind reader, wire::key!($field));)+
                reader.end()?;
                Some(Self { $($field,)+ buffer, is_wire: true, extras: None })
            }

            /// All 13 values.
            pub fn fields(&self) -> Fields<'_> {
                Fields { $($field: self.$field(),)+ }
            }

            $(
                $(#[$doc])*
                #[inline]
                pub fn $field(&self) -> record!(@given $kind) {
                    record!(@get $kind self.$field, self)
                }
            )+

            /// The value of a column; `None` for an optional one that this user does not have.
            pub fn value(&self, column: &Column) -> Option<Value<'_>> {
                match column.field {
                    $(Field::$field => Some(Value::$kind(self.$field())),)+
                    $(Field::$more => {
                        self.extras.as_ref()?.$more.as_ref().map(|value| record!(@value_of $more_kind value))
                    })+
                }
            }
        }

        impl Extras {
            /// Takes a JSON value for the optional column of this name, as it is. Null is as good as nothing.
            ///
            /// # Errors
            /// What the value should be.
            pub fn set(&mut self, column: &str, value: &serde_json::Value) -> Result<(), &'static str> {
                self.take(column, Scalar::of(value))
            }

            fn take(&mut self, column: &str, value: Scalar<'_>) -> Result<(), &'static str> {
                match column {
                    $(stringify!($more) => self.$more = record!(@json $more_kind value),)+
                    _ => return Err("nothing: there is no such column"),
                }
                Ok(())
            }
        }
    };
    (@type Uuid) => { Uuid };
    (@type Text) => { &'a str };
    (@type Timestamp) => { Timestamp };
    (@given Text) => { &str };
    (@given $kind:ident) => { $kind };
    (@kept Text) => { wire::Span };
    (@kept $kind:ident) => { $kind };
    (@owned Text) => { String };
    (@owned Int) => { i32 };
    (@owned Double) => { f64 };
    (@bytes Uuid) => { wire::ID_BYTES };
    (@bytes Text) => { 0 };
    (@bytes Timestamp) => { timestamp::WRITTEN_BYTES };
    (@length Text $place:expr) => { $place.len() };
    (@length $kind:ident $place:expr) => { 0 };
    (@put Uuid $writer:ident, $key:expr, $value:expr) => { $writer.id($key, $value) };
    (@put Text $writer:ident, $key:expr, $value:expr) => { $writer.text($key, $value) };
    (@put Timestamp $writer:ident, $key:expr, $value:expr) => { $writer.timestamp($key, $value) };
    (@take Uuid $reader:ident, $key:expr) => { $reader.id($key)? };
    (@take Text $reader:ident, $key:expr) => { $reader.text($key)? };
    (@take Timestamp $reader:ident, $key:expr) => { $reader.timestamp($key)? };
    (@get Text $place:expr, $user:ident) => { $place.of(&$user.buffer) };
    (@get $kind:ident $place:expr, $user:ident) => { $place };
    (@value_of Text $place:expr) => { Value::Text($place) };
    (@value_of $kind:ident $place:expr) => { Value::$kind(*$place) };
    (@json Text $value:expr) => { $value.text()? };
    (@json Int $value:expr) => { $value.int()? };
    (@json Double $value:expr) => { $value.double()? };
}

record! {
    required {
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
    optional {
        /// `Mr`, `Mrs`, `Ms`, … as the API says.
        title: Text = "/name/title",
        /// Age in years on the day of the fetch.
        age: Int = "/dob/age",
        /// Nationality, two letters.
        nationality: Text = "/nat",
        /// House number.
        street_number: Text = "/location/street/number",
        /// Street.
        street_name: Text = "/location/street/name",
        /// City.
        city: Text = "/location/city",
        /// State, province or region.
        state: Text = "/location/state",
        /// Country, in English.
        country: Text = "/location/country",
        /// Degrees north of the equator.
        latitude: Double = "/location/coordinates/latitude",
        /// Degrees east of Greenwich.
        longitude: Double = "/location/coordinates/longitude",
        /// Offset from UTC, as `+5:30`.
        timezone: Text = "/location/timezone/offset",
        /// Mobile telephone number, as the API formats it.
        cell: Text = "/cell",
        /// URL of the large portrait.
        picture_large: Text = "/picture/large",
        /// URL of the thumbnail.
        thumbnail: Text = "/picture/thumbnail",
    }
}

/// The optional columns that were asked for (`--with`), in the order of [`OPTIONAL_COLUMNS`]. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct With(Option<Arc<[&'static Column]>>);

impl With {
    /// These columns, whatever their order.
    ///
    /// # Errors
    /// The first name that is no optional column.
    pub fn columns<'n>(names: &[&'n str]) -> Result<Self, &'n str> {
        let is_known = |name: &str| OPTIONAL_COLUMNS.iter().any(|column| column.name == name);
        if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
            return Err(unknown);
        }
        let chosen: Arc<[&'static Column]> =
            OPTIONAL_COLUMNS.iter().filter(|column| names.contains(&column.name)).collect();
        Ok(Self((!chosen.is_empty()).then_some(chosen)))
    }

    /// All of them.
    pub fn all() -> Self {
        Self(Some(OPTIONAL_COLUMNS.iter().collect()))
    }

    /// The columns, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = &'static Column> + '_ {
        self.0.iter().flat_map(|columns| columns.iter().copied())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What of these columns a JSON value has; `find` gives the part for one.
    ///
    /// # Errors
    /// The column, and what its value should be.
    pub fn extras<'v>(
        &self,
        find: impl Fn(&Column) -> Option<&'v serde_json::Value>,
    ) -> Result<Option<Box<Extras>>, (&'static str, &'static str)> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut extras = Extras::default();
        for column in self.iter() {
            if let Some(value) = find(column) {
                extras.set(column.name, value).map_err(|expected| (column.name, expected))?;
            }
        }
        Ok((extras != Extras::default()).then(|| Box::new(extras)))
    }

    /// What of these columns is in our JSON of a user, under their names. Nothing is looked at where there are none.
    ///
    /// # Errors
    /// The column, and what its value should be.
    pub fn of_wire(&self, json: &[u8]) -> Result<Option<Box<Extras>>, String> {
        optional::pick(self, json, Names::Wire).map_err(|unfit| unfit.to_string())
    }

    /// What of these columns is in the API's JSON of a user, trimmed, where their sources say. Nothing is looked at where
    /// there are none.
    fn of_api(&self, json: &str) -> Result<Option<Box<Extras>>, Rejection> {
        optional::pick(self, json.as_bytes(), Names::Api)
            .map_err(|unfit| Rejection { field: unfit.path, reason: format!("expected {}", unfit.expected) })
    }
}
