//! The list of rules: the first that fits a packet decides, so a place in it means something.

use serde_json::{Map, Value};

use super::rule::rules_digest;
use super::verify::{Complaints, verify};
use super::{Firewall, FirewallError, Rule, unchanged};

impl Firewall {
    pub fn rules_digest(&self) -> String {
        rules_digest(&self.rules)
    }

    pub fn rule(&self, pos: u64) -> Result<&Rule, FirewallError> {
        let rule = usize::try_from(pos).ok().and_then(|pos| self.rules.get(pos));
        rule.ok_or(FirewallError::NoRule(pos))
    }

    /// A new rule comes before all others, and does not hold unless it says so.
    pub fn add_rule(
        &mut self,
        cluster: &Self,
        params: &Map<String, Value>,
    ) -> Result<(), FirewallError> {
        let mut rule = Rule::default();
        rule.copy(params);
        verify(&mut rule, cluster, self, &mut Complaints::strict())?;
        rule.enable = rule.enable.or(Some(0));
        self.rules.insert(0, rule);
        Ok(())
    }

    /// The place of a rule that is there in a file that is there.
    fn place(&self, pos: u64, seen: Option<&str>) -> Result<usize, FirewallError> {
        unchanged(&self.rules_digest(), seen)?;
        if !self.is_there {
            return Err(FirewallError::NoRules);
        }
        self.rule(pos)?;
        usize::try_from(pos).map_err(|_| FirewallError::NoRule(pos))
    }

    pub fn change_rule(
        &mut self,
        cluster: &Self,
        pos: u64,
        params: &Map<String, Value>,
    ) -> Result<(), FirewallError> {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let place = self.place(pos, text("digest"))?;
        let to = params.get("moveto");
        let to = to.and_then(|to| to.as_u64().or_else(|| to.as_str()?.parse().ok()));
        if let Some(to) = to.filter(|to| *to != pos) {
            self.move_rule(place, to);
            return Ok(());
        }
        let mut rule = self.rules[place].clone();
        rule.copy(params);
        rule.delete(text("delete").unwrap_or_default())?;
        verify(&mut rule, cluster, self, &mut Complaints::strict())?;
        self.rules[place] = rule;
        Ok(())
    }

    /// To just before the rule that is at `to` now.
    fn move_rule(&mut self, from: usize, to: u64) {
        let to = usize::try_from(to).map_or(self.rules.len(), |to| to.min(self.rules.len()));
        let rule = self.rules.remove(from);
        self.rules.insert(if to > from { to - 1 } else { to }, rule);
    }

    pub fn remove_rule(&mut self, pos: u64, seen: Option<&str>) -> Result<(), FirewallError> {
        let place = self.place(pos, seen)?;
        self.rules.remove(place);
        Ok(())
    }
}
