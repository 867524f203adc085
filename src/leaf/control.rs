//! How a link takes what its hub says beside messages: new permissions, further addresses, lame duck mode, errors.

use super::compression::Agreed;
use super::dial::advice;
use super::info::LeafInfo;
use super::link::Link;
use super::session::Control;
use std::time::Duration;

/// The control of one connection to a hub.
pub(super) struct HubControl<'a> {
    pub link: &'a Link,
    pub agreed: Agreed,
    /// A message against the import list was logged already.
    pub refused: bool,
}

impl Control for HubControl<'_> {
    fn info(&mut self, json: &[u8]) -> Result<(), String> {
        let info: LeafInfo = serde_json::from_slice(json).map_err(|e| format!("its INFO is not valid: {e}"))?;
        let (name, config) = (self.link.name(), self.link.config());
        if info.ldm {
            let announced = self.link.current().hub.leafnode_urls.as_ref().map_or(0, Vec::len);
            if config.urls.len() > 1 || config.discover && announced > 1 {
                return Err("the hub is about to shut down (lame duck)".into());
            }
            tracing::warn!("leaf remote {name:?}: the hub is about to shut down (lame duck)");
        }
        if let Some(urls) = info.leafnode_urls.as_ref().filter(|urls| !urls.is_empty()) {
            self.link.current().hub.leafnode_urls = Some(urls.clone());
        }
        if let Some(urls) = info.ws_connect_urls.as_ref().filter(|urls| !urls.is_empty()) {
            self.link.current().hub.ws_connect_urls = Some(urls.clone());
        }
        // As in nats-server: an INFO without permissions leaves them as they are.
        let changed = {
            let hub = &mut self.link.current().hub;
            let changed = (info.import.is_some() || info.export.is_some())
                && (info.import != hub.import || info.export != hub.export);
            if changed {
                (hub.import, hub.export) = (info.import, info.export);
            }
            changed
        };
        if changed {
            tracing::info!("leaf remote {name:?}: the hub has changed this leaf's permissions");
            self.link.rule();
        }
        Ok(())
    }

    fn error(&mut self, text: &str) -> Result<(), String> {
        let line = format!("the hub says {text:?}: {}", advice(text));
        let fatal =
            ["Authorization", "Authentication", "Loop detected", "Duplicate Remote", "Stale", "Expired", "Revoked"];
        if fatal.iter().any(|word| text.contains(word)) {
            return Err(line);
        }
        tracing::warn!("leaf remote {:?}: {line}", self.link.name());
        Ok(())
    }

    fn round_trip(&mut self, time: Duration) {
        self.agreed.adapt(time);
        let mut current = self.link.current();
        current.rtt = Some(time);
        current.compression = self.agreed.name();
    }

    fn refused(&mut self, subject: &str) {
        if !self.refused {
            tracing::warn!(
                "leaf remote {:?}: the hub sent {subject:?}, which the import list does not allow; not taken (logged once)",
                self.link.name()
            );
            self.refused = true;
        }
    }
}
