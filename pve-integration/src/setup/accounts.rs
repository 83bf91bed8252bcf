//! `/etc/passwd` and `/etc/shadow`. Bytes, as a name in them may be in any encoding.

/// The file with another hash for `user`. `days` since 1970 are shadow's date of the last change;
/// without them it is passwd's second field that is replaced.
pub fn with_password(file: &[u8], user: &str, hash: &str, days: Option<u64>) -> Vec<u8> {
    let fixed = if days.is_some() { 3 } else { 2 };
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in file.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.splitn(fixed + 1, |&byte| byte == b':').collect();
        if fields.len() <= fixed || fields[0] != user.as_bytes() {
            lines.push(line.to_vec());
            continue;
        }
        let date = days.map(|days| days.to_string());
        let mut new = vec![fields[0], hash.as_bytes()];
        new.extend(date.as_ref().map(|date| date.as_bytes()));
        new.push(fields[fixed]);
        lines.push(new.join(&b':'));
    }
    lines.join(&b'\n')
}

/// The sixth field.
pub fn home_of(passwd: &[u8], user: &str) -> Option<String> {
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        if fields.next()? != user.as_bytes() {
            return None;
        }
        let home = fields.nth(4)?;
        fields.next()?; // the shell, which PVE wants to be there
        String::from_utf8(home.to_vec()).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nrooter:x:1:1:\xe9:/home/r:/bin/sh\nbad\n";

    #[test]
    fn replaces_one_users_password() {
        let shadow = b"daemon:*:19000:0:99999:7:::\nroot:!:1:0:99999:7:::\nrooty:!:1::::::\n";

        let new = with_password(shadow, "root", "$6$s$h", Some(20000));

        assert_eq!(
            String::from_utf8(new).unwrap(),
            "daemon:*:19000:0:99999:7:::\nroot:$6$s$h:20000:0:99999:7:::\nrooty:!:1::::::\n"
        );
    }

    #[test]
    fn of_passwd_it_replaces_the_second_field() {
        let new = with_password(PASSWD, "root", "*", None);
        assert!(new.starts_with(b"root:*:0:0:root:/root:/bin/sh\nrooter:x:1:1:\xe9:"));
        assert!(new.ends_with(b"bad\n"));
    }

    #[rstest]
    #[case("root", Some("/root"))]
    #[case("rooter", Some("/home/r"))]
    #[case("bad", None)]
    #[case("nobody", None)]
    fn finds_a_home(#[case] user: &str, #[case] home: Option<&str>) {
        assert_eq!(home_of(PASSWD, user).as_deref(), home);
    }

    proptest! {
        #[test]
        fn leaves_files_without_the_user_alone(file: Vec<u8>) {
            prop_assume!(!file.windows(5).any(|part| part == b"root:"));
            prop_assert_eq!(with_password(&file, "root", "h", Some(1)), file.clone());
            prop_assert_eq!(with_password(&file, "root", "h", None), file);
        }
    }
}
