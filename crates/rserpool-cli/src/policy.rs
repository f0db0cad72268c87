//! Policies on the command line and in tables, all from the library's one table of them.

use crate::definitions;
use crate::failure::Failure;
use crate::units;
use clap::Args;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use rserpool::proto::policy::{PolicyParameter, PolicyTable};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

/// Which policy picks elements, and this element's values for it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    /// How the pool picks its elements (RFC 5356, and rsplib's own); all elements of a pool have the
    /// same policy
    #[arg(long, value_name = "NAME", default_value = "round-robin", value_parser = Names)]
    policy: String,
    /// A file that defines further policies by `[[policy]]` sections, such as the registrar's
    #[arg(long, value_name = "FILE")]
    policies: Option<PathBuf>,
    /// Capacity relative to the other elements of the pool; 0 is never picked
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Elements of higher priority are picked first
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
    /// How loaded this element is: 0% to 100%, or as RFC 5356 counts it, 0 to 4294967295
    #[arg(long, value_name = "SHARE", value_parser = units::parse_share)]
    load: Option<u32>,
    /// How much its load counts as grown each time it is picked: 0% to 100%
    #[arg(long, value_name = "SHARE", value_parser = units::parse_share)]
    degradation: Option<u32>,
    /// How much a millisecond of distance adds to its load: 0% to 100%
    #[arg(long, value_name = "SHARE", value_parser = units::parse_share)]
    load_dpf: Option<u32>,
    /// How much a millisecond of distance takes from its weight
    #[arg(long, value_name = "N")]
    weight_dpf: Option<u32>,
    /// How far it is from the registrar, in milliseconds there and back [default: as measured]
    #[arg(long, value_name = "MS")]
    distance: Option<u32>,
    /// A word of a policy that a file defines: a number, or a percentage
    #[arg(long, value_name = "NAME=VALUE", value_parser = word)]
    word: Vec<(String, u32)>,
}

/// Reads the name of a policy; files may define others than those that are known here.
#[derive(Clone, Debug)]
struct Names;

impl TypedValueParser for Names {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let table = PolicyTable::builtin();
        let names = table.iter().map(|kind| PossibleValue::new(kind.name).help(kind.summary));
        Some(Box::new(names.collect::<Vec<_>>().into_iter()))
    }
}

/// Reads `NAME=VALUE`.
fn word(text: &str) -> Result<(String, u32), String> {
    let (name, value) = text.split_once('=').ok_or("it is not like NAME=VALUE")?;
    Ok((name.into(), units::parse_share(value)?))
}

impl PolicyFlags {
    /// The policy and all its values, those not given by default, and all policies there are.
    pub(crate) fn parameter(&self) -> Result<(PolicyParameter, PolicyTable), Failure> {
        let table = definitions::load(self.policies.as_deref())?;
        let words = [
            ("weight", self.weight),
            ("priority", self.priority),
            ("load", self.load),
            ("degradation", self.degradation),
            ("load-dpf", self.load_dpf),
            ("weight-dpf", self.weight_dpf),
            ("distance", self.distance),
        ];
        let given = words.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let others = self.word.iter().map(|(name, value)| (name.as_str(), *value));
        let mut given: Vec<(&str, u32)> = given.chain(others).collect();
        // Whoever has the text says so, so that a registrar with another one refuses it.
        if let Some(text) = table.by_name(&self.policy).and_then(|kind| kind.text) {
            given.push(("text", text.get()));
        }
        let parameter = table
            .parameter(&self.policy, &given)
            .map_err(|error| Failure::usage(format!("--policy {}: {error}", self.policy)))?;
        Ok((parameter, table))
    }
}

/// A policy and an element's values for it, as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct View {
    /// Its name, or its number in hexadecimal if it is not known.
    pub(crate) name: String,
    /// Its values by name, as they stand on the wire.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) values: BTreeMap<&'static str, u32>,
}

impl From<&PolicyParameter> for View {
    fn from(parameter: &PolicyParameter) -> Self {
        let table = PolicyTable::builtin();
        let Some(kind) = table.by_number(parameter.number) else {
            let name = format!("{:#010x}", parameter.number.0);
            return Self { name, values: BTreeMap::new() };
        };
        let words = parameter.words().unwrap_or_default();
        let values = kind.words.iter().map(|word| word.name).zip(words.iter().copied());
        Self { name: kind.name.into(), values: values.collect() }
    }
}

/// `weighted-random weight=3`, `least-used load=25%`.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in &self.values {
            match *name {
                "load" | "degradation" | "load-dpf" => {
                    write!(f, " {name}={}", units::share(*value))?
                }
                _ => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        policy: PolicyFlags,
    }

    fn shown(flags: &str) -> Result<String, String> {
        let flags = Flags::try_parse_from(format!("x {flags}").split_whitespace())
            .map_err(|error| error.to_string())?;
        match flags.policy.parameter() {
            Ok((parameter, _)) => Ok(View::from(&parameter).to_string()),
            Err(Failure::Usage(report)) => Err(report.message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_policy_is_shown_as_it_was_asked_for() {
        assert_eq!(shown("").unwrap(), "round-robin");
        assert_eq!(
            shown("--policy weighted-random --weight 3").unwrap(),
            "weighted-random weight=3"
        );
        assert_eq!(shown("--policy least-used --load 25%").unwrap(), "least-used load=25%");
        assert_eq!(shown("--policy least-used").unwrap(), "least-used load=0%");
        assert_eq!(
            shown("--policy least-used-dpf --load 25% --load-dpf 1% --distance 40").unwrap(),
            "least-used-dpf distance=40 load=25% load-dpf=1%"
        );
    }

    #[test]
    fn a_value_that_the_policy_does_not_have_is_refused_with_those_it_has() {
        let error = shown("--policy least-used --weight 3").unwrap_err();
        assert!(error.contains("weight") && error.contains("load"), "{error}");
        assert!(shown("--policy fastest").unwrap_err().contains("round-robin"));
    }
}
