//! YAML as Loki's files use it, to JSON values: anchors, aliases and `<<` merges are followed.
//!
//! Never evaluates variables or templates. What stays true: one document, string keys, and aliases
//! can't grow it beyond the parser's limit.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Number, Value};

/// Deeper nesting is no configuration.
const DEEPEST: usize = 64;

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.contains("{{") {
        return Err("it holds a template (`{{`): name the rendered file".to_owned());
    }
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    let [document] = documents.as_slice() else {
        return Err(format!(
            "it has {} documents instead of one",
            documents.len()
        ));
    };
    match value(document, 0)? {
        map @ Value::Object(_) => Ok(map),
        _ => Err("it is no mapping of names to values".to_owned()),
    }
}

fn value(yaml: &Yaml<'_>, depth: usize) -> Result<Value, String> {
    if depth > DEEPEST {
        return Err("it is nested too deeply".to_owned());
    }
    Ok(match yaml {
        Yaml::Value(scalar) => plain(scalar),
        Yaml::Sequence(items) => {
            let items: Result<_, _> = items.iter().map(|item| value(item, depth + 1)).collect();
            Value::Array(items?)
        }
        Yaml::Mapping(fields) => {
            let (mut own, mut merged) = (Map::new(), Map::new());
            for (name, field) in fields {
                let name = match name {
                    Yaml::Value(Scalar::String(name)) => name.to_string(),
                    Yaml::Value(other) => plain(other).to_string(),
                    _ => return Err("a key is not a word".to_owned()),
                };
                let field = value(field, depth + 1)?;
                if name == "<<" {
                    merge(&mut merged, field)?;
                } else {
                    own.insert(name, field);
                }
            }
            // What stands in the mapping itself wins over what is merged into it.
            merged.extend(own);
            Value::Object(merged)
        }
        Yaml::Tagged(_, inner) => value(inner, depth + 1)?,
        Yaml::Representation(text, ..) => Value::from(text.as_ref()),
        Yaml::Alias(_) | Yaml::BadValue => {
            return Err("an alias has no anchor, or a value has the wrong type".to_owned());
        }
    })
}

/// One mapping, or several of which the first wins (YAML 1.1, merge keys).
fn merge(into: &mut Map<String, Value>, from: Value) -> Result<(), String> {
    match from {
        Value::Object(fields) => {
            for (name, field) in fields {
                into.entry(name).or_insert(field);
            }
            Ok(())
        }
        Value::Array(all) => all.into_iter().try_for_each(|one| merge(into, one)),
        _ => Err("`<<` merges something that is no mapping".to_owned()),
    }
}

fn plain(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(truth) => Value::Bool(*truth),
        Scalar::Integer(number) => Value::from(*number),
        Scalar::FloatingPoint(number) => {
            Number::from_f64(**number).map_or(Value::Null, Value::Number)
        }
        Scalar::String(text) => Value::from(text.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anchors_aliases_and_merges_are_followed() {
        let text = "
base: &base {a: 1, b: yes}
more: &more
  b: 2
  c: 3
one: {<<: *base, a: 9}
two:
  <<: [*base, *more]
list: [1, 2.5, null, 'x', \"${VAR}\"]
";
        let read = parse(text).unwrap();
        assert_eq!(read["one"], json!({ "a": 9, "b": "yes" }));
        assert_eq!(read["two"], json!({ "a": 1, "b": "yes", "c": 3 }));
        assert_eq!(read["list"], json!([1, 2.5, null, "x", "${VAR}"]));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in [
            "",
            "- a\n- b",
            "just words",
            "a: 1\n---\nb: 2",
            "a: [1",
            "a: *nowhere",
            "cert_file: {{ env \"NOMAD_SECRETS_DIR\" }}/cert.pem",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn aliases_of_aliases_do_not_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn the_files_of_the_example_are_read() {
        for name in ["loki.yaml", "loki-2.7.yaml"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("nomad")
                .join(name);
            let text = std::fs::read_to_string(path).unwrap();
            if !text.contains("{{") {
                assert!(parse(&text).is_ok(), "{name}");
            }
        }
    }
}
