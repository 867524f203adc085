//! What accounts share: every case is played to leafd and to nats-server over bare sockets, and what comes back must be the
//! same.

#[path = "../common/mod.rs"]
mod common;

mod leafs;
mod services;
mod share;
mod streams;

use common::play::{self, connect, login};

/// A configuration of accounts in both languages; each account has the user `<name>`, lower case, with password `p`.
fn accounts(list: &[(&str, &str)]) -> (String, String) {
    let (mut toml, mut conf) = (String::new(), String::from("accounts {\n"));
    for (name, shares) in list {
        let user = name.to_lowercase();
        toml += &format!("[accounts.{name}]\nusers = [{{ user = \"{user}\", password = \"p\" }}]\n{shares}\n");
        // The tables differ only in how members are set: TOML's inline tables with `=` are read by nats-server as well.
        conf += &format!("{name} {{\nusers = [{{ user: {user}, password: p }}]\n{shares}\n}}\n");
    }
    (toml, conf + "}\n")
}

/// CONNECT of the user of an account.
fn of(user: &str) -> String {
    login(user, "p")
}

/// CONNECT without echo, headers and notices that nobody listens.
fn plainly(user: &str) -> String {
    format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"p\",\"protocol\":1}}\r\n")
}

/// CONNECT without credentials.
fn nobody() -> String {
    connect("")
}
