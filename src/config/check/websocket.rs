//! `[websocket]`.

use super::files;
use crate::config::origin::Origin;
use crate::config::websocket::WebSocketConfig;

/// What is wrong with it.
pub(super) fn check(websocket: &WebSocketConfig, errors: &mut Vec<String>) {
    websocket.tls.iter().for_each(|tls| files::tls("[websocket.tls]", tls, errors));
    if websocket.tls.is_none() && !websocket.no_tls {
        errors.push("[websocket]: needs tls, or no_tls = true where browsers shall connect without".into());
    }
    for origin in &websocket.allowed_origins {
        if let Err(error) = Origin::parse(origin) {
            errors.push(format!("[websocket] allowed_origins: {error}"));
        }
    }
}
