//! From `exports`, `imports` and `mappings` of `[accounts.NAME]`, and `[mappings]` of `$G`, to what accounts share and map.

use super::Config;
use super::accounts::{AccountConfig, ExportConfig, ImportConfig, ImportSource, ResponseType, mappings};
use crate::account::{
    self, Access, Accounts, GLOBAL_ACCOUNT, Import, Mappings, RESPONSE_THRESHOLD, Sampled, ServiceExport, Shares,
    StreamExport,
};
use crate::auth::SharedByJwt;
use std::collections::BTreeMap;

/// What accounts share and map, by name.
pub struct Subjects {
    shares: BTreeMap<String, Shares>,
    mappings: BTreeMap<String, Mappings>,
}

impl Subjects {
    /// Reads what `config` says.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read(config: &Config) -> Result<Subjects, Vec<String>> {
        let mut errors = Vec::new();
        let mut all = BTreeMap::new();
        let mut global = config.mappings.clone();
        for (name, account) in &config.accounts {
            if name == GLOBAL_ACCOUNT {
                global.extend(account.mappings.clone());
                continue;
            }
            match mappings(&account.mappings) {
                Ok(mappings) => drop(all.insert(name.clone(), mappings)),
                Err(wrong) => errors.extend(wrong.iter().map(|error| format!("[accounts.{name}] {error}"))),
            }
        }
        match mappings(&global) {
            Ok(mappings) => drop(all.insert(GLOBAL_ACCOUNT.to_owned(), mappings)),
            Err(wrong) => errors.extend(wrong.iter().map(|error| format!("[mappings] {error}"))),
        }
        match shares(&config.accounts) {
            Ok(shares) if errors.is_empty() => Ok(Subjects { shares, mappings: all }),
            Ok(_) => Err(errors),
            Err(wrong) => Err(errors.into_iter().chain(wrong).collect()),
        }
    }

    /// With what accounts by JWT share and map, who are others than those of the configuration.
    pub fn with(mut self, by_jwt: SharedByJwt) -> Subjects {
        self.shares.extend(by_jwt.shares);
        self.mappings.extend(by_jwt.mappings);
        self
    }

    /// Puts it in force; what does not fit is left out, with a line in the log; accounts that are not mentioned (any more) share and map nothing.
    pub fn put_in_force(mut self, accounts: &Accounts) {
        for account in accounts.all() {
            let name = account.name();
            self.shares.entry(name.to_owned()).or_default();
            account.set_mappings(self.mappings.remove(name).unwrap_or_default());
        }
        for (name, mappings) in self.mappings {
            accounts.get_or_create(&name).set_mappings(mappings);
        }
        // `read` has checked the configuration; what may be wrong is of accounts by JWT.
        for error in account::share(&self.shares, |name| accounts.get_or_create(name)) {
            tracing::error!("{error}");
        }
    }
}

/// What the accounts share, by name.
///
/// # Errors
/// All that is wrong.
fn shares(accounts: &BTreeMap<String, AccountConfig>) -> Result<BTreeMap<String, Shares>, Vec<String>> {
    let mut errors = Vec::new();
    let mut all = BTreeMap::new();
    for (name, account) in accounts {
        let sampled = account.msg_trace.as_ref();
        let sampled = sampled.map(|trace| Sampled { dest: trace.dest.clone(), percent: trace.sampling });
        let mut shares = Shares { sampled, ..Shares::default() };
        if let Some(trace) = account.msg_trace.as_ref().filter(|trace| !trace.is_valid()) {
            errors.push(format!(
                "[accounts.{name}] msg_trace: dest {:?} is a subject without wildcards, sampling a percentage from 1 to 100",
                trace.dest
            ));
        }
        for export in &account.exports {
            if let Err(error) = add_export(export, &mut shares) {
                errors.push(format!("[accounts.{name}] exports: {error}"));
            }
        }
        for import in &account.imports {
            if let Err(error) = add_import(import, &mut shares) {
                errors.push(format!("[accounts.{name}] imports: {error}"));
            }
        }
        all.insert(name.clone(), shares);
    }
    if errors.is_empty()
        && let Err(wrong) = account::check(&all)
    {
        errors
            .extend(wrong.iter().map(|e| format!("[accounts.{}] {} {:?}: {}", e.account, e.kind, e.subject, e.reason)));
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

fn add_export(export: &ExportConfig, shares: &mut Shares) -> Result<(), String> {
    let access = match (&export.accounts, export.account_token_position) {
        (_, Some(position)) => Access::Token(position as usize),
        (Some(names), None) => Access::Accounts(names.clone()),
        (None, None) => Access::Public,
    };
    match (&export.stream, &export.service) {
        (Some(subject), None) => {
            if export.response_type != ResponseType::Singleton || export.response_threshold.is_some() {
                return Err(format!("stream {subject:?}: response_type and response_threshold are for services"));
            }
            shares.streams.push(StreamExport { subject: subject.clone(), access });
        }
        (None, Some(subject)) => shares.services.push(ServiceExport {
            subject: subject.clone(),
            access,
            response: match export.response_type {
                ResponseType::Singleton => account::ResponseType::Singleton,
                ResponseType::Stream => account::ResponseType::Stream,
                ResponseType::Chunked => account::ResponseType::Chunked,
            },
            threshold: export.response_threshold.map_or(RESPONSE_THRESHOLD, |threshold| threshold.0),
            traced: export.allow_trace,
        }),
        _ => return Err("each has either stream or service, a subject".into()),
    }
    Ok(())
}

fn add_import(import: &ImportConfig, shares: &mut Shares) -> Result<(), String> {
    let planned = |source: &ImportSource| Import {
        account: source.account.clone(),
        subject: source.subject.clone(),
        to: import.to.clone().unwrap_or_default(),
        prefix: import.prefix.clone().unwrap_or_default(),
        share: import.share,
        traced: import.allow_trace,
        activated: false,
    };
    match (&import.stream, &import.service) {
        (Some(source), None) => {
            if import.prefix.is_some() && import.to.is_some() {
                return Err(format!("stream {:?}: prefix and to do not go together", source.subject));
            }
            if import.share {
                return Err(format!("stream {:?}: share is for services", source.subject));
            }
            shares.stream_imports.push(planned(source));
        }
        (None, Some(source)) => {
            if import.prefix.is_some() {
                return Err(format!("service {:?}: prefix is for streams, use to", source.subject));
            }
            shares.service_imports.push(planned(source));
        }
        _ => return Err("each has either stream or service, { account, subject }".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Shares>, Vec<String>> {
        shares(&toml::from_str(text).expect("parses"))
    }

    #[test]
    fn tables_become_shares() {
        let read = read(
            r#"
            [A]
            exports = [
                { stream = "events.>" },
                { service = "help.*", response_type = "stream", response_threshold = "3s", accounts = ["B"] },
            ]
            [B]
            imports = [
                { stream = { account = "A", subject = "events.>" }, prefix = "a" },
                { service = { account = "A", subject = "help.*" }, to = "ask.*" },
            ]
            "#,
        );
        let read = read.expect("right");
        assert_eq!(read["A"].streams[0].access, Access::Public);
        let help = &read["A"].services[0];
        assert_eq!((help.response, help.threshold.as_secs()), (account::ResponseType::Stream, 3));
        assert_eq!(help.access, Access::Accounts(vec!["B".into()]));
        assert_eq!(read["B"].stream_imports[0].prefix, "a");
        assert_eq!(read["B"].service_imports[0].to, "ask.*");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_account() {
        for (text, want) in [
            ("[A]\nexports = [{}]\n", "[accounts.A] exports: each has either stream or service, a subject"),
            (
                "[A]\nexports = [{ stream = \"x\", response_type = \"chunked\" }]\n",
                "[accounts.A] exports: stream \"x\": response_type and response_threshold are for services",
            ),
            (
                "[A]\nimports = [{ service = { account = \"B\", subject = \"x\" }, prefix = \"p\" }]\n",
                "[accounts.A] imports: service \"x\": prefix is for streams, use to",
            ),
            (
                "[A]\nimports = [{ stream = { account = \"B\", subject = \"x\" } }]\n[B]\n",
                "[accounts.A] stream import \"x\": stream import not authorized",
            ),
        ] {
            assert_eq!(read(text).expect_err(text), [want]);
        }
    }
}
