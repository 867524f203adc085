//! The JetStream domain of this server.

/// A domain's name, by which the API is reached as `$JS.<domain>.API.>`, and whether answers tell it. Where nobody joins two servers
/// and no domain is configured they do not, as with nats-server, of whose answers some clients take no field more.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    name: Option<String>,
    told: bool,
}

impl Domain {
    /// A domain that answers tell if `told`.
    pub fn new(name: String, told: bool) -> Domain {
        Domain { name: Some(name), told }
    }

    /// By which name the API is reached.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What answers and advisories tell of it.
    pub fn told(&self) -> Option<&str> {
        self.name().filter(|_| self.told)
    }
}
