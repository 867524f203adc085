//! By what a repetition of the broker's is recognised.
//!
//! The id of a reading is made of the adapter, the session, the packet id and a hash of topic and payload; the stream's
//! deduplication window knows it. Packet ids come round again, so that a message can look like an earlier one: the broker
//! then does not say that it is a repetition (DUP). Where this process acknowledged the earlier one, the look-alike gets
//! another id at once; where another process did, the window's answer tells. One case is left: a look-alike that this
//! process was killed over before it was stored comes again as a repetition, within the window of the earlier, equal
//! message, and is taken for it.

use rumqttc::Publish;
use std::collections::HashMap;

/// Ids for the readings of one session.
pub(super) struct Identity {
    prefix: String,
    /// The last message acknowledged under each packet id.
    acknowledged: HashMap<u16, u64>,
    /// For messages of QoS 0, which have no packet id and never come again.
    count: u64,
    run: u64,
}

impl Identity {
    pub fn new(adapter: &str, client_id: &str) -> Identity {
        let prefix = format!("mqtt:{adapter}:{client_id}");
        Identity { prefix, acknowledged: HashMap::new(), count: 0, run: fastrand::u64(..) }
    }

    /// The id of a message as it arrives.
    pub fn of(&mut self, publish: &Publish) -> String {
        if publish.pkid == 0 {
            self.count += 1;
            return format!("{}:0:{:016x}:{}", self.prefix, self.run, self.count);
        }
        let hash = hash(publish);
        let id = format!("{}:{}:{hash:016x}", self.prefix, publish.pkid);
        let looks_alike = !publish.dup && self.acknowledged.get(&publish.pkid) == Some(&hash);
        if looks_alike { another(&id) } else { id }
    }

    /// The broker has been told of the receipt of `publish`.
    pub fn acknowledged(&mut self, publish: &Publish) {
        self.acknowledged.insert(publish.pkid, hash(publish));
    }
}

/// An id for a message that is not what `id` stands for.
pub(super) fn another(id: &str) -> String {
    format!("{id}:{:016x}", fastrand::u64(..))
}

fn hash(publish: &Publish) -> u64 {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(publish.topic.as_bytes());
    hash.update(&[0]);
    hash.update(&publish.payload);
    // A digest of SHA-256 has 32 bytes.
    hash.finish().as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::QoS;

    fn publish(pkid: u16, payload: &str, dup: bool) -> Publish {
        let mut publish = Publish::new("t", QoS::AtLeastOnce, payload);
        (publish.pkid, publish.dup) = (pkid, dup);
        publish
    }

    #[test]
    fn a_repetition_has_the_same_id_and_a_look_alike_another() {
        let mut identity = Identity::new("a", "c");
        let first = identity.of(&publish(1, "on", false));
        assert_eq!(identity.of(&publish(1, "on", true)), first);
        // Not yet acknowledged: the broker speaks of the same message.
        assert_eq!(identity.of(&publish(1, "on", false)), first);
        identity.acknowledged(&publish(1, "on", false));
        assert_ne!(identity.of(&publish(1, "on", false)), first);
        assert_ne!(identity.of(&publish(2, "on", false)), first);
        assert_ne!(identity.of(&publish(1, "off", false)), first);
        // The acknowledgement was lost.
        assert_eq!(identity.of(&publish(1, "on", true)), first);
    }

    #[test]
    fn at_qos_0_each_is_its_own() {
        let mut identity = Identity::new("a", "c");
        assert_ne!(identity.of(&publish(0, "on", false)), identity.of(&publish(0, "on", false)));
        let (mut one, mut other) = (Identity::new("a", "c"), Identity::new("b", "c"));
        assert_ne!(one.of(&publish(1, "on", false)), other.of(&publish(1, "on", false)));
    }
}
