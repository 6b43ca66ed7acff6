//! Request fields by a schema, converted as Vault's SDK converts them, with its texts.
//!
//! Never knows what a field means. What stays true: after [`Fields::read`] every field present has
//! the type its schema names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{answer::Refused, duration};

/// The types of Vault's field schemas that we need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string; numbers and booleans are turned into one.
    Text,
    /// `true`, `"true"`, `1`, `"1"`.
    Bool,
    /// A whole number.
    Int,
    /// Whole seconds: a number, `"90"`, `"10d"` or a Go duration.
    Seconds,
    /// An array, or one string with commas.
    List,
    /// An object.
    Object,
}

/// Names and types of a path's fields.
pub(super) type Schema = &'static [(&'static str, Kind)];

/// The fields of one request.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: BTreeMap<&'static str, Value>,
    unknown: Vec<String>,
}

impl Fields {
    /// Converts what the schema names and remembers the names it does not know.
    pub(super) fn read(input: &Map<String, Value>, schema: Schema) -> Result<Self, Refused> {
        let mut fields = Self::default();
        for (name, value) in input {
            let Some((known, kind)) = schema.iter().find(|(known, _)| known == name) else {
                fields.unknown.push(name.clone());
                continue;
            };
            if value.is_null() {
                continue;
            }
            let value = convert(value, *kind).map_err(|why| {
                Refused::bad(format!(
                    "Field validation failed: error converting input for field \"{name}\": {why}"
                ))
            })?;
            fields.values.insert(known, value);
        }
        Ok(fields)
    }

    /// Vault's warning about fields that the path does not know.
    pub(super) fn warning(&self) -> Option<String> {
        (!self.unknown.is_empty()).then(|| {
            format!(
                "Endpoint ignored these unrecognized parameters: [{}]",
                self.unknown.join(" ")
            )
        })
    }

    /// The converted value.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All converted values.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// A text field; empty when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.value(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A boolean field; false when absent.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool) == Some(true)
    }

    /// A number or duration field; zero when absent.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.value(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A list field; empty when absent.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        strings(self.value(name))
    }
}

/// The strings of a JSON array; empty for anything else.
pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn convert(value: &Value, kind: Kind) -> Result<Value, String> {
    match kind {
        Kind::Text => text(value).map(Value::String).ok_or_else(|| {
            format!(
                "'' expected type 'string', got unconvertible type '{}'",
                go_type(value)
            )
        }),
        Kind::Bool => boolean(value).map(Value::Bool).ok_or_else(|| {
            "'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax".to_owned()
        }),
        Kind::Int => integer(value).map(|number| json!(number)).ok_or_else(|| {
            "'' cannot parse value as 'int': strconv.ParseInt: invalid syntax".to_owned()
        }),
        Kind::Seconds => duration::seconds(value).map(|secs| json!(secs)),
        Kind::List => Ok(json!(list(value))),
        Kind::Object => match value {
            Value::Object(_) => Ok(value.clone()),
            _ => Err(format!("'' expected a map, got '{}'", go_kind(value))),
        },
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

fn list(value: &Value) -> Vec<String> {
    let items: Vec<String> = match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        other => text(other)
            .unwrap_or_default()
            .split(',')
            .map(str::to_owned)
            .collect(),
    };
    let mut items: Vec<String> = items.iter().map(|item| item.trim().to_owned()).collect();
    items.retain(|item| !item.is_empty());
    items
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        _ => "string",
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "slice",
        Value::Bool(_) => "bool",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = &[
        ("name", Kind::Text),
        ("on", Kind::Bool),
        ("ttl", Kind::Seconds),
        ("ips", Kind::List),
    ];

    fn read(input: &Value) -> Result<Fields, Refused> {
        let Value::Object(map) = input else {
            return Err(Refused::bad("not an object"));
        };
        Fields::read(map, SCHEMA)
    }

    #[test]
    fn converts_as_the_sdk_does() {
        let fields = read(&json!({"name": 5, "on": "true", "ttl": "10d", "ips": "a, b,,"}));
        let fields = fields.expect("convertible");
        assert_eq!(fields.text("name"), "5");
        assert!(fields.flag("on"));
        assert_eq!(fields.number("ttl"), 864_000);
        assert_eq!(fields.list("ips"), ["a", "b"]);
        assert_eq!(fields.warning(), None);
    }

    #[test]
    fn unknown_fields_make_one_warning() {
        let fields = read(&json!({"zz": 1, "aa": 2})).expect("convertible");
        assert_eq!(
            fields.warning().as_deref(),
            Some("Endpoint ignored these unrecognized parameters: [aa zz]")
        );
    }

    #[test]
    fn a_list_is_no_text() {
        let refused = read(&json!({"name": ["x"]})).expect_err("a list");
        assert_eq!(
            refused.errors,
            [
                "Field validation failed: error converting input for field \"name\": '' expected type \
                 'string', got unconvertible type '[]interface {}'"
            ]
        );
    }
}
