//! Names for addresses.

use super::{Firewall, FirewallError, comment, digest, unchanged};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alias {
    /// As it was given; looked up without regard to case.
    pub name: String,
    pub cidr: String,
    pub comment: Option<String>,
    /// 4 or 6; known once the file has been read.
    pub ipversion: Option<u8>,
}

/// What an alias shall be.
#[derive(Clone, Debug, Default)]
pub struct AliasChange {
    pub name: String,
    pub rename: Option<String>,
    pub cidr: String,
    pub comment: Option<String>,
}

impl AliasChange {
    fn alias(&self) -> Alias {
        let comment = comment(self.comment.as_deref());
        Alias { name: self.name.clone(), cidr: self.cidr.clone(), comment, ipversion: None }
    }
}

fn exists(name: &str) -> FirewallError {
    FirewallError::param("name", format!("alias '{name}' already exists"))
}

impl Firewall {
    pub fn aliases_digest(&self) -> String {
        digest(self.aliases.values().map(|alias| {
            let mut pairs = vec![("name", alias.name.clone()), ("cidr", alias.cidr.clone())];
            pairs.extend(alias.comment.clone().map(|comment| ("comment", comment)));
            pairs.extend(alias.ipversion.map(|version| ("ipversion", version.to_string())));
            pairs
        }))
    }

    pub fn alias(&self, name: &str) -> Result<&Alias, FirewallError> {
        let alias = self.aliases.get(&name.to_lowercase());
        alias.ok_or_else(|| FirewallError::param("name", "no such alias"))
    }

    pub fn add_alias(&mut self, new: &AliasChange) -> Result<(), FirewallError> {
        let key = new.name.to_lowercase();
        if self.aliases.contains_key(&key) {
            return Err(exists(&new.name));
        }
        self.aliases.insert(key, new.alias());
        Ok(())
    }

    pub fn change_alias(
        &mut self,
        change: &AliasChange,
        seen: Option<&str>,
    ) -> Result<(), FirewallError> {
        unchanged(&self.aliases_digest(), seen)?;
        self.alias(&change.name)?;
        let key = change.name.to_lowercase();
        let mut alias = change.alias();
        let rename = change.rename.as_deref().filter(|name| name.to_lowercase() != key);
        let new_key = rename.map(str::to_lowercase).unwrap_or(key.clone());
        if let Some(name) = rename {
            if self.aliases.contains_key(&new_key) {
                return Err(exists(name));
            }
            name.clone_into(&mut alias.name);
        }
        self.aliases.remove(&key);
        self.aliases.insert(new_key, alias);
        Ok(())
    }

    /// One that is not there is gone already.
    pub fn remove_alias(&mut self, name: &str, seen: Option<&str>) -> Result<(), FirewallError> {
        unchanged(&self.aliases_digest(), seen)?;
        self.aliases.remove(&name.to_lowercase());
        Ok(())
    }
}
