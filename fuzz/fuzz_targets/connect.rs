//! What others say of themselves: CONNECT of a client, INFO of a hub.
#![no_main]

use leafd::protocol::Connect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(connect) = serde_json::from_slice::<Connect>(data) {
        // Whoever reads it finds the same again, unknown fields or not.
        let again = serde_json::from_slice::<Connect>(data).expect("as before");
        assert_eq!(format!("{connect:?}"), format!("{again:?}"));
    }
    let _ = serde_json::from_slice::<leafd::leaf::LeafInfo>(data);
});
