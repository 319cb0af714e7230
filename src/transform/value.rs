//! Between a [`User`] and a value of the language: an object with the names and the values that it has on the wire.

use jaq_json::{Map, Val};

use crate::encoding::Codec;
use crate::record::{COLUMNS, Column, OPTIONAL_COLUMNS, User, Value};

/// The user as the wire's JSON has it, without writing that.
pub(super) fn of(user: &User) -> Val {
    let mut object = Map::default();
    object.reserve(COLUMNS.len());
    let mut add = |column: &Column| {
        if let Some(value) = user.value(column) {
            object.insert(Val::utf8_str(column.name.as_bytes()), of_column(value));
        }
    };
    COLUMNS.iter().for_each(&mut add);
    if user.extras().is_some() {
        OPTIONAL_COLUMNS.iter().for_each(&mut add);
    }
    Val::obj(object)
}

fn of_column(value: Value<'_>) -> Val {
    match value {
        Value::Uuid(id) => Val::from(id.to_string()),
        Value::Text(text) => Val::from(text.to_owned()),
        Value::Timestamp(at) => Val::from(at.to_string()),
        // An `isize` has at least as many bits as this on every machine that the program is built for.
        Value::Int(number) => Val::from(isize::try_from(number).unwrap_or_default()),
        Value::Double(number) => Val::from(number),
    }
}

/// Whether a filter's value keeps the record: as in jq, all but `false` and `null`.
pub(super) fn is_true(value: &Val) -> bool {
    !matches!(value, Val::Null | Val::Bool(false))
}

/// Reads what was made of a user by the rules for a record from the wire. A `timestamp` that was left out is the old one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn to_user(made: &Val, before: &User, codec: &Codec) -> Result<User, String> {
    if !matches!(made, Val::Obj(_)) {
        return Err("it gives no object".to_owned());
    }
    let user = codec.decode(&made.to_string().into(), before.timestamp())?;
    if user.id() != before.id() {
        return Err("it changes `id`, by which the record is known".to_owned());
    }
    if user.timestamp() != before.timestamp() {
        return Err("it changes `timestamp`, by which the newest record wins".to_owned());
    }
    Ok(user)
}
