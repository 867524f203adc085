//! What can be asked for, and on which subjects.

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Accountz,
    Connz,
    Expvarz,
    Gatewayz,
    Healthz,
    Idz,
    Ipqueuesz,
    Jsz,
    Leafz,
    Profilez,
    Raftz,
    Routez,
    Statsz,
    Subsz,
    Varz,
    /// Reads the configuration again.
    Reload,
    /// Ends a connection.
    Kick,
    /// Asks a client to go elsewhere.
    LameDuck,
    AccountConnections,
    AccountConnz,
    AccountInfo,
    AccountJsz,
    AccountLeafz,
    AccountStatz,
    AccountSubsz,
    AllAccountsStatz,
    UserInfo,
    /// How many subscribe to a subject.
    Subscribers,
    /// The same, of an account that the request names.
    AccountSubscribers,
    /// A new JWT of the account that the subject names.
    AccountClaims,
    /// A new JWT of the account that it is about.
    Claims,
    DeleteClaims,
    ListClaims,
    LookUpClaims,
    PackClaims,
}

/// Of accounts by JWT; where they lie in a directory the others too.
const OF_CLAIMS: [(&str, Service); 2] = [
    ("$SYS.ACCOUNT.*.CLAIMS.UPDATE", Service::AccountClaims),
    ("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", Service::AccountClaims),
];
const OF_KEPT_CLAIMS: [(&str, Service); 5] = [
    ("$SYS.REQ.CLAIMS.UPDATE", Service::Claims),
    ("$SYS.REQ.CLAIMS.DELETE", Service::DeleteClaims),
    ("$SYS.REQ.CLAIMS.LIST", Service::ListClaims),
    ("$SYS.REQ.CLAIMS.PACK", Service::PackClaims),
    ("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", Service::LookUpClaims),
];

impl Service {
    /// The queue group in which it is answered, so that one of several servers does.
    pub fn queue(self) -> Option<&'static str> {
        (self == Service::PackClaims).then_some("responder")
    }
}

/// Of a server, by its id or of all that hear it.
const OF_SERVERS: [(&str, Service); 15] = [
    ("ACCOUNTZ", Service::Accountz),
    ("CONNZ", Service::Connz),
    ("EXPVARZ", Service::Expvarz),
    ("GATEWAYZ", Service::Gatewayz),
    ("HEALTHZ", Service::Healthz),
    ("IDZ", Service::Idz),
    ("IPQUEUESZ", Service::Ipqueuesz),
    ("JSZ", Service::Jsz),
    ("LEAFZ", Service::Leafz),
    ("PROFILEZ", Service::Profilez),
    ("RAFTZ", Service::Raftz),
    ("ROUTEZ", Service::Routez),
    ("STATSZ", Service::Statsz),
    ("SUBSZ", Service::Subsz),
    ("VARZ", Service::Varz),
];

/// Of one server, by its id.
const OF_ONE_SERVER: [(&str, Service); 3] =
    [("KICK", Service::Kick), ("LDM", Service::LameDuck), ("RELOAD", Service::Reload)];

/// Of an account.
const OF_ACCOUNTS: [(&str, Service); 7] = [
    ("CONNS", Service::AccountConnections),
    ("CONNZ", Service::AccountConnz),
    ("INFO", Service::AccountInfo),
    ("JSZ", Service::AccountJsz),
    ("LEAFZ", Service::AccountLeafz),
    ("STATZ", Service::AccountStatz),
    ("SUBSZ", Service::AccountSubsz),
];

/// All subjects on which the server with that id answers; `keeps` its accounts in a directory or not.
pub(super) fn subjects(server_id: &str, keeps: bool) -> Vec<(String, Service)> {
    let mut subjects = vec![
        ("$SYS.REQ.SERVER.PING".to_owned(), Service::Statsz),
        ("$SYS.REQ.ACCOUNT.PING.STATZ".to_owned(), Service::AllAccountsStatz),
        ("$SYS.REQ.USER.*.INFO".to_owned(), Service::UserInfo),
        ("$SYS.DEBUG.SUBSCRIBERS".to_owned(), Service::Subscribers),
        ("$SYS.REQ.ACCOUNT.NSUBS".to_owned(), Service::AccountSubscribers),
    ];
    for (name, service) in OF_SERVERS {
        subjects.push((format!("$SYS.REQ.SERVER.PING.{name}"), service));
        subjects.push((format!("$SYS.REQ.SERVER.{server_id}.{name}"), service));
    }
    for (name, service) in OF_ONE_SERVER {
        subjects.push((format!("$SYS.REQ.SERVER.{server_id}.{name}"), service));
    }
    for (name, service) in OF_ACCOUNTS {
        subjects.push((format!("$SYS.REQ.ACCOUNT.*.{name}"), service));
    }
    let kept: &[_] = if keeps { &OF_KEPT_CLAIMS } else { &[] };
    subjects.extend(OF_CLAIMS.iter().chain(kept).map(|(subject, service)| ((*subject).to_owned(), *service)));
    subjects
}
