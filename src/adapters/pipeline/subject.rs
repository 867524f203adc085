//! Subjects from templates, and the mapping between MQTT topics and subjects.

/// Fills `{name}` and `{topic}` into a template.
pub fn fill(template: &str, name: &str, topic: &str) -> String {
    template.replace("{name}", name).replace("{topic}", topic)
}

/// The subject of an MQTT topic, by nats-server's rules (`mqtt.go`, `mqttToNATSSubjectConversion`): `/` becomes `.`, `.`
/// becomes `//`, and an empty level keeps its `/` as a token of its own. `None` for a topic that no subject can stand
/// for: with blanks, or with a level that would be a wildcard.
pub fn of_topic(topic: &str) -> Option<String> {
    let mut subject = String::with_capacity(topic.len() + 2);
    let mut rest = topic.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if subject.is_empty() || subject.ends_with('.') => subject.push_str("/."),
            '/' if rest.peek().is_none_or(|next| *next == '/') => subject.push_str("./"),
            '/' => subject.push('.'),
            '.' => subject.push_str("//"),
            '\u{7f}' => return None,
            c => subject.push(c),
        }
    }
    if subject.ends_with('.') {
        subject.push('/');
    }
    crate::subject::is_valid_literal(&subject).then_some(subject)
}

/// The topic of what follows a command prefix in a subject: the way back of [`of_topic`] (`natsSubjectToMQTTTopic`).
/// `None` if it would be a topic filter.
pub fn to_topic(subject: &str) -> Option<String> {
    let mut topic = String::with_capacity(subject.len());
    let mut rest = subject.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '.' => topic.push('/'),
            '/' => match rest.next_if(|next| ['.', '/'].contains(next)) {
                Some('.') => topic.push('/'),
                Some(_) => topic.push('.'),
                // It stands for an empty level, which the separator before it has opened already.
                None => {}
            },
            c => topic.push(c),
        }
    }
    (!topic.is_empty() && !topic.contains(['+', '#', '\0'])).then_some(topic)
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
            ("/", Some("/./")),
            ("//", Some("/././")),
            ("a//b", Some("a./.b")),
            ("foo bar", None),
            ("a/*/b", None),
            ("", None),
        ] {
            assert_eq!(of_topic(topic).as_deref(), subject, "{topic}");
        }
        assert_eq!(fill("p.gw.{name}.{topic}", "line1", "a.b"), "p.gw.line1.a.b");
    }

    #[test]
    fn topics_come_back_from_their_subjects() {
        for topic in ["foo/bar", "/foo/bar", "foo/bar/", "spBv1.0/g/NDATA", "a//b", "a.b/c"] {
            let subject = of_topic(topic).expect("has a subject");
            assert_eq!(to_topic(&subject).as_deref(), Some(topic), "{subject}");
        }
        assert_eq!((to_topic("a.#"), to_topic("a.b+.c")), (None, None));
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
