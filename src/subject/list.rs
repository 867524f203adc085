//! A list of subjects that permissions are made of: allow or deny, with wildcards and queue groups.

use super::{Index, is_subset, is_valid, matches, overlap};

/// Subjects, each with or without a queue group (`orders.* workers`), answering which of them select a subject.
///
/// A subject that is looked up may have wildcards itself; it is selected by an entry as nats-server's sublist does it:
/// a wildcard token only by a wildcard.
#[derive(Clone, Default)]
pub struct SubjectList {
    index: Index<Option<Box<str>>>,
    entries: Vec<(Box<str>, Option<Box<str>>)>,
}

/// An entry that is no subject, or no subject and queue group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a subject, nor a subject and a queue group with a blank between them")]
pub struct InvalidEntry(pub String);

/// Which entries select a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// An entry without a queue group.
    pub plain: bool,
    /// An entry with some queue group.
    pub any_queue: bool,
    /// An entry with the queue group that was asked for.
    pub queue: bool,
}

impl Selection {
    fn add(&mut self, entry: Option<&str>, asked: Option<&str>) {
        match entry {
            None => self.plain = true,
            Some(own) => {
                self.any_queue = true;
                // A queue group in the list may be a pattern; it also stands for itself.
                self.queue |= asked.is_some_and(|queue| own == queue || matches(own, queue));
            }
        }
    }
}

impl SubjectList {
    /// Makes a list of `entries`.
    ///
    /// # Errors
    /// The first entry that is not valid.
    pub fn new<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidEntry> {
        let mut list = SubjectList::default();
        entries.iter().try_for_each(|entry| list.add(entry.as_ref()))?;
        Ok(list)
    }

    /// Adds `SUBJECT` or `SUBJECT QUEUE`.
    ///
    /// # Errors
    /// It is neither.
    pub fn add(&mut self, entry: &str) -> Result<(), InvalidEntry> {
        let mut words = entry.split_ascii_whitespace();
        let (subject, queue) = match (words.next(), words.next(), words.next()) {
            (Some(subject), queue, None) if is_valid(subject) && queue.is_none_or(is_valid) => (subject, queue),
            _ => return Err(InvalidEntry(entry.to_owned())),
        };
        let queue: Option<Box<str>> = queue.map(Into::into);
        self.index.insert(subject, self.entries.len() as u64, queue.clone());
        self.entries.push((subject.into(), queue));
        Ok(())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Which entries select all that `subject` stands for, asked for with `queue`. A subject that is not valid is selected
    /// by none.
    ///
    /// nats-server takes `a.>` for selected by `a.*`, and so opens more than was written; we do not.
    pub fn select_all(&self, subject: &str, queue: Option<&str>) -> Selection {
        if !is_valid(subject) {
            return Selection::default();
        }
        if subject != ">" && !subject.ends_with(".>") {
            return self.select(subject, queue);
        }
        let mut selection = Selection::default();
        for (_, entry) in self.entries.iter().filter(|(own, _)| is_subset(subject, own)) {
            selection.add(entry.as_deref(), queue);
        }
        selection
    }

    /// Which entries select `subject`, asked for with `queue`.
    pub fn select(&self, subject: &str, queue: Option<&str>) -> Selection {
        let mut selection = Selection::default();
        self.index.lookup(subject, &mut |entry: &Option<Box<str>>| selection.add(entry.as_deref(), queue));
        selection
    }

    /// Whether an entry without queue group, or with this one, selects `subject`.
    pub fn covers(&self, subject: &str, queue: Option<&str>) -> bool {
        let selection = self.select(subject, queue);
        selection.plain || selection.queue
    }

    /// Whether some literal subject is selected both by `subject` and by an entry.
    pub fn overlaps(&self, subject: &str) -> bool {
        self.entries.iter().any(|(own, _)| overlap(own, subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_and_without_queue_groups() {
        let list = SubjectList::new(&["a", "b.* v1", "c.>  q.*", "c.x"]).expect("valid");
        let selection = |plain, any_queue, queue| Selection { plain, any_queue, queue };
        assert_eq!(list.select("a", Some("q")), selection(true, false, false));
        assert_eq!(list.select("b.1", None), selection(false, true, false));
        assert_eq!(list.select("b.1", Some("v1")), selection(false, true, true));
        assert_eq!(list.select("b.1", Some("v2")), selection(false, true, false));
        assert_eq!(list.select("c.x", Some("q.1")), selection(true, true, true));
        assert_eq!(list.select("d", Some("q")), Selection::default());
        assert!(list.covers("c.y", Some("q.1")) && !list.covers("c.y", Some("r")) && list.covers("c.x", None));
        assert!(list.overlaps("*.x") && list.overlaps(">") && !list.overlaps("a.b"));
    }

    #[test]
    fn all_of_a_wildcard_must_be_selected() {
        let list = SubjectList::new(&["a.*", "b.>", "c.> q"]).expect("valid");
        assert!(list.select_all("a.*", None).plain && !list.select_all("a.>", None).plain);
        assert!(list.select_all("b.c.>", None).plain && !list.select_all(">", None).plain);
        assert!(list.select_all("c.d.>", Some("q")).queue && !list.select_all("b..c", None).plain);
    }

    #[test]
    fn what_is_no_entry_is_named() {
        for bad in ["", " ", "a..b", "a b c", "a b..c", "a.>.b"] {
            assert_eq!(SubjectList::new(&["ok", bad]).err(), Some(InvalidEntry(bad.into())), "{bad:?}");
        }
    }
}
