//! Notes that a backup gets, made from a template of one line.

/// What stands for the variables.
#[derive(Clone, Copy, Debug)]
pub struct NoteFacts<'a> {
    pub cluster: &'a str,
    pub guestname: &'a str,
    pub node: &'a str,
    pub vmid: &'a str,
}

const VARIABLES: [&str; 4] = ["cluster", "guestname", "node", "vmid"];

/// PVE's refusals, without a last newline.
pub fn check_template(template: &str) -> Result<(), String> {
    if template.contains('\n') {
        return Err("contains a line feed".to_owned());
    }
    let mut unknown = Vec::new();
    let mut chars = template.chars().enumerate();
    while let Some((at, c)) = chars.next() {
        if c == '\\'
            && let Some((_, escaped)) = chars.next()
            && !matches!(escaped, 'n' | '\\')
        {
            unknown.push(format!("escape sequence '\\{escaped}' at char {at}"));
        }
    }
    for (at, name) in variables(template) {
        if !VARIABLES.contains(&name) {
            // Counted in PVE's way, from behind the brackets.
            let at = template[..at].chars().count() + 4;
            unknown.push(format!("variable '{name}' at char {at}"));
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("found unknown: {}", unknown.join(", ")))
}

/// Where each `{{name}}` begins, and its name.
fn variables(template: &str) -> Vec<(usize, &str)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = template[from..].find("{{").map(|at| from + at) {
        let rest = &template[at + 2..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '{' || c == '}');
        match end {
            Some(end) if end > 0 && rest[end..].starts_with("}}") => {
                found.push((at, &rest[..end]));
                from = at + 2 + end + 2;
            }
            Some(_) | None => from = at + 1,
        }
    }
    found
}

/// Of a template that was checked.
pub fn notes(template: &str, facts: NoteFacts<'_>) -> String {
    let mut text = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                other => text.extend(other),
            },
            (c, false) => text.push(c),
        }
    }
    let (mut done, mut from) = (String::new(), 0);
    for (at, name) in variables(&text) {
        let value = match name {
            "cluster" => facts.cluster,
            "guestname" => facts.guestname,
            "node" => facts.node,
            "vmid" => facts.vmid,
            _ => continue,
        };
        done.push_str(&text[from..at]);
        done.push_str(value);
        from = at + name.len() + 4;
    }
    done.push_str(&text[from..]);
    done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const FACTS: NoteFacts<'_> =
        NoteFacts { cluster: "standalone node", guestname: "web", node: "pve1", vmid: "100" };

    #[rstest]
    #[case("{{guestname}}", "web")]
    #[case("{{vmid}} on {{node}}\\nof {{cluster}}", "100 on pve1\nof standalone node")]
    #[case("a\\\\b {{ vmid }} {{{vmid}}", "a\\b {{ vmid }} {100")]
    fn fills_in(#[case] template: &str, #[case] text: &str) {
        check_template(template).unwrap();
        assert_eq!(notes(template, FACTS), text);
    }

    #[rstest]
    #[case("a\nb", "contains a line feed")]
    #[case("{{name}}", "found unknown: variable 'name' at char 4")]
    #[case("x\\ty", "found unknown: escape sequence '\\t' at char 1")]
    fn refuses(#[case] template: &str, #[case] message: &str) {
        assert_eq!(check_template(template).unwrap_err(), message);
    }

    proptest! {
        #[test]
        fn never_panics(template: String) {
            check_template(&template).unwrap_or_default();
            notes(&template, FACTS);
        }
    }
}
