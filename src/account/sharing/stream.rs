//! Stream imports: a subscription that overlaps one gets a shadow in the exporting account, through which messages come
//! under the subject that they have in the subscriber's own account (nats-server's `addShadowSubscriptions`).

use super::ImportView;
use crate::account::{Account, Batch, Exported, Message, Party, Subscription, Target, TargetId, TargetKind};
use crate::subject::{Transform, is_subset};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// The shadows of each subscription, by its key.
pub(super) type Shadows = HashMap<u64, Vec<Shadow>, RandomState>;

/// A stream import in force.
pub(super) struct StreamImport {
    exporter: Weak<Account>,
    /// Subject there.
    from: Box<str>,
    /// Subject here.
    to: Box<str>,
    /// From there to here and back; `None` where the subject stays, or has no wildcard.
    transforms: Option<(Transform, Transform)>,
    /// Whether traces go on here.
    traced: bool,
}

/// A subscription in an exporting account that stands for one in an importing account.
pub(super) struct Shadow {
    exporter: Weak<Account>,
    sub: Arc<Subscription>,
}

impl Shadow {
    fn end(&self) {
        if let Some(exporter) = self.exporter.upgrade() {
            exporter.remove(&self.sub);
        }
    }
}

impl StreamImport {
    pub fn new(exporter: &Arc<Account>, from: &str, to: &str, transform: Option<Transform>, traced: bool) -> Self {
        let transforms = transform.and_then(|there| there.reverse().map(|back| (there, back)));
        StreamImport { exporter: Arc::downgrade(exporter), from: from.into(), to: to.into(), transforms, traced }
    }

    /// For monitoring.
    pub fn view(&self) -> ImportView {
        ImportView {
            is_stream: true,
            account: self.exporter.upgrade().map(|account| account.name().to_owned()).unwrap_or_default(),
            subject: self.from.to_string(),
            to: self.to.to_string(),
            shares: false,
        }
    }

    /// Which subject there has what a subscription to `subject` here wants of it; `None` if nothing.
    fn wanted(&self, subject: &str) -> Option<String> {
        let overlap = match () {
            _ if is_subset(&self.to, subject) => return Some(self.from.to_string()),
            _ if is_subset(subject, &self.to) => subject.to_owned(),
            _ => narrowed(subject, &self.to)?,
        };
        match &self.transforms {
            Some((_, back)) => back.rewrite(&overlap),
            // Only a literal import may change its subject without a transform.
            None if self.from != self.to => Some(self.from.to_string()),
            None => Some(overlap),
        }
    }

    /// The subject here of a message that has `subject` there. A consumer's message comes with its stream's subject, which
    /// need not be that of the import, and keeps it.
    fn renamed(&self, subject: &str) -> Option<String> {
        match &self.transforms {
            Some((there, _)) => there.apply(subject),
            None if self.from == self.to || *self.from != *subject => None,
            None => Some(self.to.to_string()),
        }
    }
}

/// `subject` with its wildcards made narrower by those of `import`, which it overlaps; `None` if it does not.
fn narrowed(subject: &str, import: &str) -> Option<String> {
    let mut tokens: Vec<&str> = Vec::new();
    let mut other = import.split('.');
    for token in subject.split('.') {
        match (token, other.next()) {
            (">", Some(narrower)) => {
                tokens.push(narrower);
                tokens.extend(other.by_ref());
                break;
            }
            ("*", Some(narrower)) if narrower != ">" => tokens.push(narrower),
            _ => tokens.push(token),
        }
    }
    Some(tokens.join(".")).filter(|narrower| is_subset(narrower, import))
}

/// Delivers to the subscription in the importing account.
struct Through {
    import: Arc<StreamImport>,
    account: Weak<Account>,
    sub: Arc<Subscription>,
}

impl Target for Through {
    fn id(&self) -> TargetId {
        self.sub.target.id()
    }

    fn kind(&self) -> TargetKind {
        self.sub.target.kind()
    }

    fn deliver(
        &self,
        _: &Arc<dyn Target>,
        _: &Subscription,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) {
        let renamed = self.import.renamed(message.subject);
        let message = Message { subject: renamed.as_deref().unwrap_or(message.subject), ..*message };
        if !self.sub.accepts(message.subject) {
            return;
        }
        let Some(last) = self.sub.take() else { return };
        self.sub.target.deliver(&self.sub.target, &self.sub, queues, &message, batch);
        if last && let Some(account) = self.account.upgrade() {
            account.unsubscribe(&self.sub);
        }
    }

    fn congestion(&self) -> Option<Arc<Notify>> {
        self.sub.target.congestion()
    }

    fn party(&self) -> Option<Party> {
        self.sub.target.party()
    }

    fn exported(&self, subject: &str) -> Option<Exported> {
        Some(Exported {
            account: self.account.upgrade()?.name().to_owned(),
            to: self.import.renamed(subject).unwrap_or_else(|| subject.to_owned()),
            traced: self.import.traced,
        })
    }

    fn flush(&self) {
        self.sub.target.flush();
    }
}

impl Account {
    fn shadows(&self) -> MutexGuard<'_, Shadows> {
        self.sharing.shadows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `sub` is in the index: gives it its shadows in other accounts.
    pub(in crate::account) fn shadow(&self, sub: &Arc<Subscription>) {
        if self.sharing.streams.load(Ordering::Acquire) {
            self.add_shadows(&mut self.shadows(), sub);
        }
    }

    /// `sub` is closed: ends its shadows.
    pub(in crate::account) fn unshadow(&self, sub: &Subscription) {
        if self.sharing.streams.load(Ordering::Acquire) {
            let shadows = self.shadows().remove(&sub.key);
            shadows.iter().flatten().for_each(Shadow::end);
        }
    }

    /// Gives all subscriptions the shadows that the imports in force ask for. Those of before stay until then, so that
    /// no message is lost where nothing has changed; it may come twice meanwhile.
    pub(super) fn refresh_shadows(&self) {
        let mut shadows = self.shadows();
        let before = std::mem::take(&mut *shadows);
        for sub in self.all_subscriptions() {
            self.add_shadows(&mut shadows, &sub);
        }
        before.values().flatten().for_each(Shadow::end);
    }

    fn add_shadows(&self, shadows: &mut Shadows, sub: &Arc<Subscription>) {
        // A shadow itself has none: an imported stream cannot be exported again.
        if sub.is_closed() || sub.is_shadow() || shadows.contains_key(&sub.key) {
            return;
        }
        let imports = self.sharing.stream_imports.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut own = Vec::new();
        for import in &*imports {
            let Some(exporter) = import.exporter.upgrade() else { continue };
            let Some(subject) = import.wanted(sub.subject()) else { continue };
            let through = Through { import: import.clone(), account: self.weak().clone(), sub: sub.clone() };
            let shadow = Arc::new(Subscription::new_shadow(&subject, sub.queue(), sub.sid(), Arc::new(through)));
            exporter.insert(shadow.clone());
            own.push(Shadow { exporter: Arc::downgrade(&exporter), sub: shadow });
        }
        if !own.is_empty() {
            shadows.insert(sub.key, own);
        }
    }
}
