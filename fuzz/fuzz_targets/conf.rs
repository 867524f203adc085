//! A configuration file in nats-server's language, and what its directives become.
#![no_main]

use leafd::config::conf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files of this machine are none of its business.
    if text.to_ascii_lowercase().contains("include") {
        return;
    }
    if let Ok(tree) = conf::parse_str(text) {
        let (table, findings) = conf::to_toml(&tree);
        // What is written of it can be read.
        let written = toml::to_string(&table).expect("is TOML");
        assert_eq!(written.parse::<toml::Table>().expect("is read"), table);
        for finding in findings.errors.iter().chain(&findings.warnings) {
            assert!(finding.place.line > 0 && finding.place.column > 0, "{finding}");
        }
    }
});
