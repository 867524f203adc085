//! What others say of themselves: CONNECT of a client and of a leaf, INFO of a hub.
#![no_main]

use leafd::leaf::{LeafConnect, LeafInfo};
use leafd::protocol::Connect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(connect) = Connect::read(data, None) {
        // Who says the same again, or nothing, changes nothing.
        for again in [data, b"{}"] {
            assert_eq!(Connect::read(again, Some(&connect)).expect("as before"), connect);
        }
    }
    // What is written of the others is read.
    if let Ok(connect) = serde_json::from_slice::<LeafConnect>(data) {
        let written = serde_json::to_vec(&connect).expect("is JSON");
        assert_eq!(serde_json::from_slice::<LeafConnect>(&written).expect("is read"), connect);
    }
    if let Ok(info) = serde_json::from_slice::<LeafInfo>(data) {
        let written = serde_json::to_vec(&info).expect("is JSON");
        assert_eq!(serde_json::from_slice::<LeafInfo>(&written).expect("is read"), info);
    }
});
