//! The arguments of an event or an acknowledgement: JSON that is checked and not taken apart, and
//! the bytes that its placeholders stand for.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::json::is_too_deep;

use super::packet::Malformed;

/// Arguments: a JSON array, and attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The text of an array. `{"_placeholder":true,"num":0}` in it stands for the first attachment,
    /// if there are any; without attachments it is an object like others.
    pub json: String,
    /// The attachments, in the order of their numbers.
    pub attachments: Vec<Vec<u8>>,
}

impl Arguments {
    /// Arguments without attachments. `json` must be the text of an array.
    #[must_use]
    pub fn of(json: impl Into<String>) -> Self {
        Self { json: json.into(), attachments: Vec::new() }
    }
}

/// Checks that a text is JSON of this kind, `{` for an object and `[` for an array, and nested no
/// deeper than is accepted from outside. It needs no memory.
pub(super) fn check(json: &str, opening: char) -> Result<(), Malformed> {
    let is_good = json.trim_start().starts_with(opening)
        && !is_too_deep(json)
        && serde_json::from_str::<IgnoredAny>(json).is_ok();
    is_good.then_some(()).ok_or(Malformed)
}

/// Checks that each of so many attachments has one placeholder, and that there are no others.
pub(super) fn check_placeholders(json: &str, attachments: usize) -> Result<(), Malformed> {
    let value: Value = serde_json::from_str(json).map_err(|_| Malformed)?;
    let mut seen = vec![false; attachments];
    find_placeholders(&value, &mut seen)?;
    seen.into_iter().all(|seen| seen).then_some(()).ok_or(Malformed)
}

fn find_placeholders(value: &Value, seen: &mut [bool]) -> Result<(), Malformed> {
    match value {
        Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = members.get("num").and_then(Value::as_u64).ok_or(Malformed)?;
            let index = usize::try_from(number).map_err(|_| Malformed)?;
            let seen = seen.get_mut(index).ok_or(Malformed)?;
            if std::mem::replace(seen, true) { Err(Malformed) } else { Ok(()) }
        }
        Value::Object(members) => {
            members.values().try_for_each(|member| find_placeholders(member, seen))
        }
        Value::Array(items) => items.iter().try_for_each(|item| find_placeholders(item, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
