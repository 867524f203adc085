//! Which web pages may connect: the Origin of a browser's request (RFC 6455, 10.2; nats-server `checkOrigin`).

use crate::config::origin::Origin;

/// Which origins are let in.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Only pages of the host that they connect to.
    pub same: bool,
    /// Only these, if there are any.
    pub allowed: Vec<Origin>,
}

impl Origins {
    /// `origin` is the header, which only browsers send; `host` where the client connected to.
    pub fn check(&self, origin: Option<&str>, secure: bool, host: &str) -> Result<(), String> {
        let Some(origin) = origin.filter(|_| self.same || !self.allowed.is_empty()) else { return Ok(()) };
        let origin = Origin::parse(origin).map_err(|e| e.to_string())?;
        if self.same && Origin::of_host(secure, host).as_ref() != Some(&origin) {
            return Err(format!("{origin} is not same origin as {host}"));
        }
        if !self.allowed.is_empty() && !self.allowed.contains(&origin) {
            return Err(format!("{origin} is not in the allowed list"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_origin_and_the_listed_ones_are_let_in() {
        let same = Origins { same: true, allowed: vec![] };
        assert!(same.check(None, false, "h:80").is_ok(), "no browser");
        assert!(same.check(Some("http://h"), false, "h").is_ok());
        assert!(same.check(Some("https://h"), false, "h").is_err());
        assert!(same.check(Some("http://h:81"), false, "h").is_err());
        assert!(same.check(Some("null"), false, "h").is_err());
        let listed = Origins { same: false, allowed: vec![Origin::parse("https://a.com").expect("an origin")] };
        assert!(listed.check(Some("https://A.com:443"), true, "h").is_ok());
        assert!(listed.check(Some("http://a.com:443"), true, "h").is_err());
        assert!(Origins::default().check(Some("null"), false, "h").is_ok());
    }
}
