//! What every account may ask the system account: about itself, and who the asking user is (nats-server `events.go`,
//! `registerSystemImports`).

use super::service::ServiceImport;
use super::{ResponseType, ServiceExport};
use crate::account::Account;
use std::sync::{Arc, PoisonError};

impl Account {
    /// Has requests for the connections and the numbers of this account, and for who the requester is, answered by
    /// `system`.
    pub(in crate::account) fn ask_system(self: &Arc<Account>, system: &Arc<Account>) {
        let name = self.name();
        let mut imports =
            vec![import(self, system, "$SYS.REQ.USER.INFO", &format!("$SYS.REQ.USER.{name}.INFO")).sharing()];
        if !Arc::ptr_eq(self, system) {
            let connections = format!("$SYS.REQ.ACCOUNT.{name}.CONNZ");
            imports.push(import(self, system, "$SYS.REQ.SERVER.PING.CONNZ", &connections));
            imports.push(import(self, system, "$SYS.REQ.ACCOUNT.PING.CONNZ", &connections));
            let numbers = format!("$SYS.REQ.ACCOUNT.{name}.STATZ");
            imports.push(import(self, system, "$SYS.REQ.ACCOUNT.PING.STATZ", &numbers));
        }
        let imports = imports.into_iter().map(Arc::new).collect();
        self.sharing.services.write().unwrap_or_else(PoisonError::into_inner).system = imports;
        self.set_imports(Vec::new(), Vec::new(), false);
    }
}

/// Of `to` in `system` as `from`, with any number of answers: of a cluster, one from each server.
fn import(account: &Arc<Account>, system: &Arc<Account>, from: &str, to: &str) -> ServiceImport {
    let export = ServiceExport {
        subject: to.to_owned(),
        access: super::Access::Public,
        response: ResponseType::Stream,
        threshold: super::RESPONSE_THRESHOLD,
        traced: false,
    };
    ServiceImport::new(account, system, from, to, None, Some(&export))
}
