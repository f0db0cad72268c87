//! Policies by an expression, as files define them.
//!
//! ```toml
//! [[policy]]
//! name = "near-and-idle"
//! words = ["load", "degradation"]    # what elements register with; none by default
//! key = "load + selections * degradation + distance / 1000"   # the lowest first
//! ```

use crate::config::{self, Problem, Section};
use crate::failure::Failure;
use rserpool::expression::Definition;
use rserpool::proto::policy::PolicyTable;
use std::path::Path;
use toml::de::DeValue;

/// Most definitions in a file.
const MOST: usize = 64;

/// Takes all `[[policy]]` sections; the policies of this program and theirs.
pub(crate) fn take(section: &mut Section<'_>) -> PolicyTable {
    let mut table = PolicyTable::builtin();
    let mut count = 0;
    section.sections("policy", |policy| {
        let name = policy.take("name", owned);
        let words = policy.take_list("words", owned).unwrap_or_default();
        let key = policy.take("key", owned);
        count += 1;
        if count > MOST {
            return policy.problem("", format!("at most {MOST} policies are defined"));
        }
        let (Some(name), Some(key)) = (name, key) else {
            for wanted in ["name", "key"] {
                if !policy.has_taken(wanted) {
                    policy.problem(wanted, "a policy needs a name and a key");
                }
            }
            return;
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let added = Definition::new(&name, &words, &key)
            .map_err(|error| (if error.at.is_some() { "key" } else { "name" }, error.to_string()))
            .and_then(|definition| {
                let more = table.clone().with(definition.kind());
                more.map_err(|error| ("name", error.to_string()))
            });
        match added {
            Ok(more) => table = more,
            Err((key, what)) => policy.problem(key, what),
        }
    });
    table
}

fn owned(value: &DeValue<'_>) -> Result<String, String> {
    config::text(value).map(str::to_owned)
}

/// The policies of this program, and those of a file if there is one.
pub(crate) fn load(path: Option<&Path>) -> Result<PolicyTable, Failure> {
    let Some(path) = path else { return Ok(PolicyTable::builtin()) };
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--policies {name}: {error}")))?;
    config::read_some(&text, take).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|one: &Problem| format!("  {one}")).collect();
        Failure::usage(format!("problems in {name}\n{}", lines.join("\n")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = config::read(text, take).err().unwrap_or_default();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_file_defines_policies() {
        let text = "[[policy]]\nname = 'mine'\nwords = ['load']\nkey = 'load + selections'\n\
                    [[policy]]\nname = 'other'\nkey = 'age'\n";
        let table = config::read(text, take).unwrap();
        let mine = table.parameter("mine", &[("load", 5)]).unwrap();
        let kind = table.by_number(mine.number).unwrap();
        assert_eq!(kind.words.iter().map(|word| word.name).collect::<Vec<_>>(), ["load", "text"]);
        assert!(mine.number.is_private(), "RFC 5356 §7.1");
        assert!(table.by_name("other").is_some() && table.by_name("random").is_some());
        // The number is the name's, whoever defines it and however; the text tells texts apart.
        let elsewhere = text.replace("load + selections", "0 - load");
        let elsewhere = config::read(&elsewhere, take).unwrap();
        let theirs = elsewhere.by_name("mine").unwrap();
        assert_eq!(theirs.number, mine.number);
        assert_ne!(theirs.text, kind.text);
    }

    #[test]
    fn all_that_is_wrong_with_definitions_is_said_with_line_and_column() {
        let text = "\
[[policy]]
name = 'mine'
key = 'lod + 1'
[[policy]]
name = 'random'
key = '1'
[[policy]]
key = '1'
[[policy]]
name = 'long'
key = '''
1 +
  (2'''
";
        let found = problems(text);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0].starts_with("line 3: policy[1].key: line 1, column 1: there is no lod"),
            "{found:#?}"
        );
        assert!(found[1].starts_with("line 5: policy[2].name: policy random"), "{found:#?}");
        assert_eq!(found[2], "line 7: policy[3].name: a policy needs a name and a key");
        assert!(found[3].starts_with("line 11: policy[4].key: line 2, column 3: "), "{found:#?}");
    }
}
