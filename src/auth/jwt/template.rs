//! Permissions of scoped signing keys, with `{{name()}}` and the like filled in from the user's JWT (nats-server `auth.go`,
//! `processUserPermissionsTemplate`).

use super::claims::{Permission, PermissionClaims};
use crate::subject::is_valid;

/// Most subjects that one list may become.
const MAX_SUBJECTS: usize = 4096;

/// What templates are filled in from.
pub struct Names<'a> {
    /// `name()`.
    pub user: &'a str,
    /// `subject()`.
    pub user_key: &'a str,
    /// For `tag(NAME)`: words such as `plant:a`.
    pub user_tags: &'a [String],
    /// `account-name()`.
    pub account: &'a str,
    /// `account-subject()`.
    pub account_key: &'a str,
    /// For `account-tag(NAME)`.
    pub account_tags: &'a [String],
}

/// A template that cannot be filled in; the user is not let in then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such function.
    #[error("template operation in {0:?}: {1:?} is not defined")]
    Operation(String, String),
    /// A deny list would lose an entry.
    #[error("generated invalid subject from {0:?}")]
    Subject(String),
    /// The tags of user and account multiply to too many subjects.
    #[error("template expansion exceeds limit: {MAX_SUBJECTS}")]
    TooMany,
}

/// Fills in `template`. An allow entry that becomes no subject is left out; where nothing is left, all is denied.
///
/// # Errors
/// See [`TemplateError`].
pub fn fill_in(template: &PermissionClaims, names: &Names<'_>) -> Result<PermissionClaims, TemplateError> {
    Ok(PermissionClaims {
        publish: permission(&template.publish, names)?,
        subscribe: permission(&template.subscribe, names)?,
        resp: template.resp.clone(),
    })
}

fn permission(template: &Permission, names: &Names<'_>) -> Result<Permission, TemplateError> {
    let allow = list(&template.allow, names, false)?;
    let mut deny = list(&template.deny, names, true)?;
    if allow.is_empty() && !template.allow.is_empty() {
        deny.push(">".to_owned());
    }
    Ok(Permission { allow, deny })
}

fn list(entries: &[String], names: &Names<'_>, must: bool) -> Result<Vec<String>, TemplateError> {
    if !entries.iter().any(|entry| next_operation(entry).is_some()) {
        return Ok(entries.to_vec());
    }
    let mut out = Vec::new();
    for entry in entries {
        // Each operation multiplies what there is by its values.
        let mut texts = vec![entry.clone()];
        while let Some((from, to)) = texts.first().and_then(|text| next_operation(text)) {
            let operation = texts[0][from + 2..to - 2].trim().to_owned();
            let placeholder = texts[0][from..to].to_owned();
            let values = values(&operation, names).ok_or_else(|| TemplateError::Operation(entry.clone(), operation))?;
            let braces = |value: &String| value.contains(['{', '}']);
            if must && (values.is_empty() || values.iter().any(braces)) {
                return Err(TemplateError::Subject(entry.clone()));
            }
            if out.len() + texts.len() * values.len() > MAX_SUBJECTS {
                return Err(TemplateError::TooMany);
            }
            let filled = |value: &String| texts.iter().map(|t| t.replace(&placeholder, value)).collect::<Vec<_>>();
            // A value with braces of its own is no template.
            texts = values.iter().filter(|value| !braces(value)).flat_map(filled).collect();
        }
        for text in texts {
            match is_valid(&text) {
                true => out.push(text),
                false if must => return Err(TemplateError::Subject(entry.clone())),
                false => {}
            }
        }
    }
    Ok(out)
}

/// Where the first `{{...}}` is.
fn next_operation(text: &str) -> Option<(usize, usize)> {
    let from = text.find("{{")?;
    let length = text[from..].find("}}")?;
    (length > 2).then_some((from, from + length + 2))
}

/// What an operation stands for; `None` if there is no such operation.
fn values(operation: &str, names: &Names<'_>) -> Option<Vec<String>> {
    let one = |text: &str| Some(vec![text.to_owned()]);
    let lower = operation.to_ascii_lowercase();
    match &*lower {
        "name()" => return one(names.user),
        "subject()" => return one(names.user_key),
        "account-name()" => return one(names.account),
        "account-subject()" => return one(names.account_key),
        _ => {}
    }
    let (tags, prefix) = match lower.strip_prefix("tag(") {
        Some(rest) => (names.user_tags, rest),
        None => (names.account_tags, lower.strip_prefix("account-tag(")?),
    };
    let prefix = format!("{}:", prefix.strip_suffix(')')?);
    Some(tags.iter().filter_map(|tag| tag.strip_prefix(&*prefix)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    fn fill(allow: &[&str], deny: &[&str]) -> Result<Permission, TemplateError> {
        let (user_tags, account_tags) = (strings(&["plant:a", "plant:b", "x:1"]), strings(&["region:eu"]));
        let names = Names {
            user: "plc",
            user_key: "UKEY",
            user_tags: &user_tags,
            account: "ACC",
            account_key: "AKEY",
            account_tags: &account_tags,
        };
        permission(&Permission { allow: strings(allow), deny: strings(deny) }, &names)
    }

    #[test]
    fn names_and_tags() {
        let filled = fill(
            &[
                "{{name()}}.{{ Subject() }}.>",
                "{{tag(plant)}}.{{account-tag(region)}}",
                "{{account-name()}}.{{account-subject()}}",
                "plain",
            ],
            &["{{tag(x)}}.no"],
        )
        .expect("fills in");
        assert_eq!(filled.allow, ["plc.UKEY.>", "a.eu", "b.eu", "ACC.AKEY", "plain"]);
        assert_eq!(filled.deny, ["1.no"]);
    }

    #[test]
    fn what_cannot_be_filled_in_opens_nothing() {
        let filled = fill(&["{{tag(none)}}.x"], &[]).expect("fills in");
        assert_eq!((filled.allow.len(), filled.deny), (0, strings(&[">"])));
        assert!(fill(&[], &["{{tag(none)}}.x"]).is_err());
        assert!(matches!(fill(&["{{shell()}}"], &[]), Err(TemplateError::Operation(..))));
        assert_eq!(fill(&["{{tag(plant)}}."], &[]).expect("left out").deny, [">"]);
    }
}
