//! Subjects from templates, and the mapping between MQTT topics and subjects.

/// Fills `{name}` and `{topic}` into a template.
pub fn fill(template: &str, name: &str, topic: &str) -> String {
    template.replace("{name}", name).replace("{topic}", topic)
}

/// The subject of an MQTT topic, by nats-server's rules (`mqtt.go`): `/` becomes `.`, `.` becomes `//`, and an empty
/// level keeps its `/` as a token of its own. `None` for a topic that no subject can stand for: with blanks, or with a
/// level that would be a wildcard.
pub fn of_topic(topic: &str) -> Option<String> {
    let mut subject = String::with_capacity(topic.len() + 2);
    let mut rest = topic.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if subject.is_empty() || subject.ends_with('.') => subject.push_str("/."),
            '/' if rest.peek().is_none_or(|next| *next == '/') => subject.push_str("./"),
            '/' => subject.push('.'),
            '.' => subject.push_str("//"),
            c => subject.push(c),
        }
    }
    // A topic that ends in an empty level, such as `/`, leaves a token to be closed.
    if subject.ends_with('.') {
        subject.pop();
    }
    crate::subject::is_valid_literal(&subject).then_some(subject)
}

/// The topic of what follows a command prefix in a subject: `.` becomes `/`.
pub fn to_topic(subject: &str) -> String {
    subject.replace('.', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_nats_server() {
        for (topic, subject) in [
            ("foo/bar", Some("foo.bar")),
            ("/foo/bar", Some("/.foo.bar")),
            ("foo/bar/", Some("foo.bar./")),
            ("spBv1.0/g/NDATA", Some("spBv1//0.g.NDATA")),
            ("foo bar", None),
            ("a/*/b", None),
            ("", None),
        ] {
            assert_eq!(of_topic(topic).as_deref(), subject, "{topic}");
        }
        assert_eq!(fill("p.gw.{name}.{topic}", "line1", "a.b"), "p.gw.line1.a.b");
        assert_eq!(to_topic("a.b.c"), "a/b/c");
    }

    #[test]
    fn no_topic_gives_an_invalid_subject() {
        for topic in ["//", "/", "a//b", "a//", "///x", "a/b//c/"] {
            if let Some(subject) = of_topic(topic) {
                assert!(crate::subject::is_valid_literal(&subject), "{topic} -> {subject}");
            }
        }
    }
}
