//! `runtimes`: what can run containers on the node, or what is missing for it.

use serde_json::Value;

use super::client::{Client, ClientError, Format, Target};
use super::show;

pub async fn run(target: &Target) -> Result<(), ClientError> {
    let answer = Client::new(target)?.get(&target.oci("/runtimes"), &[]).await?;
    if target.format() == Format::Json {
        return Ok(show::print_json(&answer)?);
    }
    let row = |runtime: &Value| {
        let usable = runtime.get("usable").and_then(Value::as_bool).unwrap_or(false);
        let version =
            runtime.pointer("/probe/libcrun/version").or(runtime.pointer("/probe/version"));
        let word = |key| show::word(runtime.get(key));
        let usable = if usable { "yes" } else { "no" }.to_owned();
        vec![word("name"), usable, show::word(version), word("reason")]
    };
    let rows: Vec<_> =
        show::rows(answer.get("runtimes").unwrap_or(&Value::Null)).iter().map(row).collect();
    Ok(show::print(&show::table(&["Runtime", "Usable", "Version", "Missing"], &rows))?)
}
