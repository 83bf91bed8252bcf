//! config.json and process files, as far as we must know what is in them. libcrun reads them itself;
//! it takes a value of the wrong type for an absent one, so what we look at is checked here.

use std::path::{Path, PathBuf};

use fs_err as fs;
use oci_verbs::Exec;
use serde_json::{Map, Value, json};

use super::error::{Error, Result};

const CGROUPS: &str = "/sys/fs/cgroup";

/// A bundle's config.json.
pub(super) struct Config(Value);

impl Config {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let config = Self(read_json(path)?);
        if let Some(process) = config.0.get("process") {
            check_arguments(process)?;
        }
        Ok(config)
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.0.pointer("/process/terminal") == Some(&Value::Bool(true))
    }

    /// The folders that the container's cgroup will be, and are not yet, in whatever hierarchy.
    pub(super) fn absent_cgroups(&self, id: &str) -> Vec<PathBuf> {
        let path = self.0.pointer("/linux/cgroupsPath").and_then(Value::as_str);
        let path = path.filter(|path| !path.is_empty()).unwrap_or(id).trim_start_matches('/');
        let below = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
        let hierarchies = below.map(|entry| entry.path()).filter(|path| path.is_dir());
        let all = hierarchies.chain([PathBuf::from(CGROUPS)]).map(|folder| folder.join(path));
        all.filter(|folder| !folder.exists()).collect()
    }
}

/// An OCI process object.
pub(super) struct Process(Map<String, Value>);

impl Process {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let process = read_json(path)?;
        check_arguments(&process)?;
        object(process).map(Self).ok_or(Error::Arguments)
    }

    /// The container's own process, but for what the command line says.
    pub(super) fn like_init(state_root: &Path, exec: &Exec) -> Result<Self> {
        let state = state_root.join(exec.id.as_str());
        let mut process = match fs::metadata(&state) {
            Ok(_) => {
                let process = object(read_json(&state.join("config.json"))?)
                    .and_then(|mut config| object(config.remove("process")?));
                process.ok_or_else(|| Error::NoProcess(exec.id.to_string()))?
            }
            // libcrun says what is wrong with such a container.
            Err(_) => Map::from_iter([("cwd".to_owned(), json!("/"))]),
        };
        let words = exec.command.iter().map(|word| word.to_str().ok_or(Error::NotText));
        process.insert("args".to_owned(), words.collect::<Result<Vec<_>>>()?.into());
        process.insert("terminal".to_owned(), exec.tty.into());
        process.remove("consoleSize");
        if let Some(cwd) = &exec.cwd {
            process.insert("cwd".to_owned(), cwd.to_str().ok_or(Error::NotText)?.into());
        }
        if let Some(user) = exec.user {
            process.insert("user".to_owned(), json!({"uid": user.uid, "gid": user.gid}));
        }
        if !exec.additional_gids.is_empty()
            && let Value::Object(user) = process.entry("user").or_insert_with(|| json!({}))
        {
            user.insert("additionalGids".to_owned(), exec.additional_gids.clone().into());
        }
        add_environment(&mut process, exec);
        add_capabilities(&mut process, &exec.cap);
        if exec.no_new_privs {
            process.insert("noNewPrivileges".to_owned(), true.into());
        }
        if let Some(label) = &exec.process_label {
            process.insert("selinuxLabel".to_owned(), label.as_str().into());
        }
        if let Some(profile) = &exec.apparmor {
            process.insert("apparmorProfile".to_owned(), profile.as_str().into());
        }
        Ok(Self(process))
    }

    pub(super) fn terminal(&self) -> bool {
        self.0.get("terminal") == Some(&Value::Bool(true))
    }

    /// As its type has it, with what may be left out.
    pub(super) fn into_wanted(mut self) -> Result<oci_spec::runtime::Process> {
        self.0.entry("user").or_insert_with(|| json!({"uid": 0, "gid": 0}));
        self.0.entry("cwd").or_insert_with(|| "/".into());
        let path = PathBuf::from("process");
        serde_json::from_value(self.0.into()).map_err(|source| Error::Json { path, source })
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.0).expect("JSON can be written")
    }
}

/// The last of a name counts, and each name is there once.
fn add_environment(process: &mut Map<String, Value>, exec: &Exec) {
    let own = process.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    let given = |text: &str| exec.env.iter().any(|var| text.split('=').next() == Some(var.name()));
    let kept = own.into_iter().filter(|var| !var.as_str().is_some_and(given));
    let added = exec
        .env
        .iter()
        .enumerate()
        .filter(|(at, var)| !exec.env[at + 1..].iter().any(|later| later.name() == var.name()));
    let env: Vec<Value> = kept.chain(added.map(|(_, var)| var.as_str().into())).collect();
    process.insert("env".to_owned(), env.into());
}

fn add_capabilities(process: &mut Map<String, Value>, added: &[String]) {
    if added.is_empty() {
        return;
    }
    let Value::Object(sets) = process.entry("capabilities").or_insert_with(|| json!({})) else {
        return;
    };
    for name in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        let set = sets.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(set) = set {
            for capability in added.iter().map(|name| Value::from(name.as_str())) {
                if !set.contains(&capability) {
                    set.push(capability);
                }
            }
        }
    }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    if let Value::Object(object) = value { Some(object) } else { None }
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// libcrun creates a container whose arguments are none, and then cannot start it.
fn check_arguments(process: &Value) -> Result<()> {
    let args = process.get("args").and_then(Value::as_array).filter(|args| !args.is_empty());
    match args {
        Some(args) if args.iter().all(Value::is_string) => Ok(()),
        Some(_) | None => Err(Error::Arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use oci_verbs::{CommandLine, Verb};

    use super::*;

    fn exec(words: &str) -> Exec {
        let line = format!("x exec {words}");
        let line = CommandLine::try_parse_from(line.split_whitespace()).unwrap();
        let Verb::Exec(exec) = line.verb else { panic!("another verb") };
        exec
    }

    fn like_init(config: &Value, words: &str) -> Value {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("c1")).unwrap();
        fs::write(root.path().join("c1/config.json"), config.to_string()).unwrap();
        Value::Object(Process::like_init(root.path(), &exec(words)).unwrap().0)
    }

    #[test]
    fn a_second_process_is_like_the_first_but_for_what_is_said() {
        let init = json!({"process": {
            "args": ["init"], "cwd": "/srv", "env": ["A=1", "B=2"], "terminal": true,
            "user": {"uid": 5, "gid": 6}, "capabilities": {"effective": ["CAP_KILL"]},
            "consoleSize": {"height": 1, "width": 1},
        }});

        let plain = like_init(&init, "c1 ls -l");
        assert_eq!(
            plain,
            json!({
                "args": ["ls", "-l"], "cwd": "/srv", "env": ["A=1", "B=2"], "terminal": false,
                "user": {"uid": 5, "gid": 6}, "capabilities": {"effective": ["CAP_KILL"]},
            })
        );

        let other = like_init(
            &init,
            "-t -u 7 -g 9 -e A=3 -e A=4 -c CAP_KILL -c CAP_SYS_TIME --cwd / --no-new-privs c1 id",
        );
        assert_eq!(other["env"], json!(["B=2", "A=4"]));
        assert_eq!(other["user"], json!({"uid": 7, "gid": 0, "additionalGids": [9]}));
        assert_eq!(other["capabilities"]["effective"], json!(["CAP_KILL", "CAP_SYS_TIME"]));
        assert_eq!(other["capabilities"]["ambient"], json!(["CAP_KILL", "CAP_SYS_TIME"]));
        assert_eq!(
            (&other["terminal"], &other["cwd"], &other["noNewPrivileges"]),
            (&json!(true), &json!("/"), &json!(true))
        );
    }

    #[rstest::rstest]
    #[case::none(json!({}))]
    #[case::text(json!({"args": "ls"}))]
    #[case::empty(json!({"args": []}))]
    #[case::numbers(json!({"args": [1]}))]
    fn refuses_a_process_without_arguments(#[case] process: Value) {
        assert!(matches!(check_arguments(&process), Err(Error::Arguments)));
    }
}
