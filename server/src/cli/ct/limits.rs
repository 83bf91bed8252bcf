//! `ct limits`: processes, input and output, huge pages. Which there are is for the API to say.

use openapi::Vmid;
use serde_json::Value;

use super::settings::settings;
use crate::cli::client::{Client, ClientError, Format, Target};
use crate::cli::show;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Limits are the parameters of the API: --pids 200, --io-weight 50 (from 1 to 10000; \
    100 is everybody's), --io-max 8:0,rbps=1048576,wiops=100 (a block device by MAJOR:MINOR; rbps and wbps \
    in bytes a second, riops and wiops in operations a second), --hugepages 2M=64 (MiB by page size), \
    --delete pids,io-max. Give --io-max and --hugepages once for each device and page size: they replace \
    those that there were. They come last: every word behind the container's number is one of them. A \
    container that runs has them at once."
)]
pub struct Limits {
    vmid: Vmid,
    #[arg(value_name = "--KEY VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    limits: Vec<String>,
}

pub(super) async fn run(target: &Target, limits: &Limits) -> Result<(), ClientError> {
    let form = settings(&limits.limits)?;
    let client = Client::new(target)?;
    let path = target.oci(&format!("/containers/{}/limits", limits.vmid));
    if !form.is_empty() {
        client.put(&path, &form).await?;
        return Ok(());
    }
    let answer = client.get(&path, &[]).await?;
    match target.format() {
        Format::Text => show::print(&lines(&answer))?,
        Format::Json => show::print_json(&answer)?,
    }
    Ok(())
}

/// One for each device and page size.
fn lines(limits: &Value) -> String {
    let mut lines = show::lines(limits, &["digest", "hugepages", "io-max"]);
    for key in ["hugepages", "io-max"] {
        for value in show::rows(limits.get(key).unwrap_or(&Value::Null)) {
            lines += &format!("{key}: {}\n", show::word(Some(value)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_a_line_for_each() {
        let limits = json!({"digest": "0", "pids": 7, "io-max": ["8:0,rbps=1", "8:16,riops=2"]});
        assert_eq!(lines(&limits), "pids: 7\nio-max: 8:0,rbps=1\nio-max: 8:16,riops=2\n");
    }
}
