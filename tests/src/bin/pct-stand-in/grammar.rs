//! The command lines that `pct` takes, of `tests/pct/commands.toml`, and its words for others.

use std::collections::BTreeMap;

use serde::Deserialize;

const COMMANDS: &str = include_str!("../../../pct/commands.toml");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(default)]
    arguments: Vec<String>,
    task: Option<String>,
    #[serde(default)]
    config: bool,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

/// A command line that was understood. Arguments by place are among the values.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) task: Option<String>,
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) asks_password: bool,
}

impl Call {
    pub(crate) fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The configuration that it asks for.
    pub(crate) fn config(&self) -> BTreeMap<String, String> {
        let keys = all().remove("config").unwrap_or_default();
        let is_key = |name: &String| type_of(&keys.options, name).is_some();
        let values = self.values.iter().filter(|(name, _)| is_key(name));
        values.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

fn all() -> BTreeMap<String, Command> {
    toml::from_str(COMMANDS).unwrap()
}

/// `mp3` is an `mp#`.
fn type_of<'o>(options: &'o BTreeMap<String, String>, name: &str) -> Option<&'o String> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let indexed = (stem != name).then(|| options.get(&format!("{stem}#"))).flatten();
    options.get(name).or(indexed)
}

pub(crate) fn parse(arguments: &[String]) -> Result<Call, String> {
    let mut commands = all();
    let keys = commands.remove("config").unwrap_or_default().options;
    let verb = arguments.first().cloned().unwrap_or_default();
    let Some(mut command) = commands.remove(&verb) else {
        return Err(format!("ERROR: unknown command 'pct {verb}'"));
    };
    if command.config {
        command.options.extend(keys);
    }
    let needed = command.arguments.iter().filter(|name| !name.ends_with('?'));
    let shown: Vec<String> = needed.map(|name| format!("<{name}>")).collect();
    let usage = format!("pct {verb} {} [OPTIONS]", shown.join(" "));
    let refuse = |words: String| Err(format!("{words}\n{usage}"));

    let mut call = Call { verb, task: command.task.clone(), ..Call::default() };
    let (mut places, mut rest) = (command.arguments.iter(), arguments[1..].iter());
    let mut wrong = String::new();
    while let Some(word) = rest.next() {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            let Some(place) = places.next() else {
                return refuse("400 too many arguments".to_owned());
            };
            call.values.insert(place.trim_end_matches('?').to_owned(), word.clone());
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let by_name = format!("{name}?");
        let kind = match type_of(&command.options, name) {
            Some(kind) => kind.as_str(),
            None if command.arguments.contains(&by_name) => "string",
            None => return refuse(format!("Unknown option: {name}\n400 unable to parse option")),
        };
        let value = match (kind, value) {
            ("boolean", None) => "1".to_owned(),
            ("asked", None) => {
                call.asks_password = true;
                continue;
            }
            (_, Some(value)) => value,
            (_, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return refuse("400 unable to parse option".to_owned()),
            },
        };
        if let Some(complaint) = complaint(kind, &value) {
            wrong.push_str(&format!("\n{name}: {complaint}"));
        }
        call.values.insert(name.to_owned(), value);
    }
    if places.any(|place| !place.ends_with('?')) {
        return refuse("400 not enough arguments".to_owned());
    }
    if !wrong.is_empty() {
        return refuse(format!("400 Parameter verification failed.{wrong}"));
    }
    Ok(call)
}

/// In the words of PVE's schema check.
fn complaint(kind: &str, value: &str) -> Option<String> {
    let mut words = kind.split(' ');
    let name = words.next()?;
    let number: Option<f64> = value.parse().ok();
    let fits = match name {
        "boolean" => {
            let known = ["1", "0", "yes", "no", "on", "off", "true", "false"];
            known.contains(&value).then_some(0.0)
        }
        "integer" => number.filter(|number| number.fract() == 0.0),
        "number" => number,
        _ => return None,
    };
    let Some(number) = fits else {
        return Some(format!("type check ('{name}') failed - got '{value}'"));
    };
    if let Some(least) = words.next().filter(|least| number < least.parse().unwrap()) {
        return Some(format!("value must have a minimum value of {least}"));
    }
    let most = words.next().filter(|most| number > most.parse().unwrap());
    most.map(|most| format!("value must have a maximum value of {most}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case(
        "start 100 --foo=1",
        "Unknown option: foo\n400 unable to parse option\npct start <vmid> [OPTIONS]"
    )]
    #[case("start", "400 not enough arguments\npct start <vmid> [OPTIONS]")]
    #[case("start 100 101", "400 too many arguments\npct start <vmid> [OPTIONS]")]
    #[case("begin 100", "ERROR: unknown command 'pct begin'")]
    #[case(
        "set 100 --memory=8 --onboot=maybe",
        "400 Parameter verification failed.\nmemory: value must have a minimum value of 16\n\
         onboot: type check ('boolean') failed - got 'maybe'\npct set <vmid> [OPTIONS]"
    )]
    fn refuses(#[case] line: &str, #[case] words_for_it: &str) {
        assert_eq!(parse(&words(line)).unwrap_err(), words_for_it);
    }

    #[test]
    fn takes_options_in_each_form() {
        let call =
            parse(&words("create 100 local:x.tar -memory 64 --mp3=a,mp=/b --start --password"));
        let call = call.unwrap();
        assert_eq!((call.value("vmid"), call.value("start")), ("100", "1"));
        assert!(call.asks_password);
        assert_eq!(call.config().into_keys().collect::<Vec<_>>(), ["memory", "mp3"]);
    }
}
