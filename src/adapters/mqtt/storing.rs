//! Between broker and store: messages become readings, and are acknowledged once they are on disk.

use super::identity::{Identity, another};
use super::{Arrived, MAX_WAITING, Session};
use crate::adapters::intake::{Ending, Intake, MAX_BATCH, Outcome, Reading};
use crate::adapters::pipeline::subject;
use rumqttc::QoS;
use tokio::sync::{mpsc, watch};

/// The way from the broker to the store.
pub(super) struct Storing<'a> {
    session: &'a Session,
    identity: Identity,
    intake: Intake,
}

impl<'a> Storing<'a> {
    pub fn new(session: &'a Session, intake: Intake) -> Self {
        let identity = Identity::new(&session.config.name, &session.client_id);
        Storing { session, identity, intake }
    }

    /// Returns when told to end, after the batch in hand. What waits behind it has not been acknowledged and comes again.
    pub async fn run(mut self, mut arrivals: mpsc::Receiver<Arrived>, mut ends: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(MAX_BATCH.min(MAX_WAITING));
        loop {
            tokio::select! {
                biased;
                _ = ends.wait_for(|end| *end) => return,
                taken = arrivals.recv_many(&mut batch, MAX_BATCH) => if taken == 0 { return },
            }
            if self.store(&batch).await.is_err() {
                return;
            }
            batch.drain(..).for_each(|arrived| self.acknowledge(&arrived));
        }
    }

    /// Stores what can be stored. The rest is dropped and counted: without an acknowledgement it would come for ever.
    async fn store(&mut self, batch: &[Arrived]) -> Result<(), Ending> {
        let (mut known, mut readings) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for arrived in batch {
            match self.reading(arrived) {
                Ok(reading) => {
                    readings.push(reading);
                    known.push(arrived);
                }
                Err(reason) => self.session.health.drop_reading(&reason),
            }
        }
        let outcomes = self.intake.store(&readings).await?;
        let mut look_alikes = Vec::new();
        for ((arrived, mut reading), outcome) in known.into_iter().zip(readings).zip(outcomes) {
            if outcome == Outcome::Duplicate && !arrived.publish.dup {
                reading.id = another(&reading.id);
                look_alikes.push(reading);
            }
        }
        if !look_alikes.is_empty() {
            self.intake.store(&look_alikes).await?;
        }
        Ok(())
    }

    fn reading(&mut self, Arrived { publish, .. }: &Arrived) -> Result<Reading, String> {
        let config = &self.session.config;
        let is_wanted = |filter: &str| {
            // `$share/GROUP/FILTER` matches what FILTER matches.
            let filter =
                filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, f)| f);
            rumqttc::matches(&publish.topic, filter)
        };
        if !config.topics.iter().any(|topic| is_wanted(&topic.filter)) {
            return Err(format!("topic {:?} is of the session's past, no configured filter matches it", publish.topic));
        }
        let subject = subject::of_topic(&publish.topic)
            .map(|topic| subject::fill(&config.subject, &config.name, &topic))
            .filter(|subject| crate::subject::is_valid_literal(subject))
            .ok_or_else(|| format!("no subject can stand for topic {:?}", publish.topic))?;
        Ok(Reading { subject, payload: publish.payload.clone(), id: self.identity.of(publish) })
    }

    /// Tells the broker, unless the connection that the message came over is gone: there it will come again.
    fn acknowledge(&mut self, Arrived { publish, connection, .. }: &Arrived) {
        if publish.qos == QoS::AtMostOnce || *connection != self.session.connection() {
            return;
        }
        match self.session.client.try_ack(publish) {
            Ok(()) => self.identity.acknowledged(publish),
            // The message comes again with the next connection, and is recognised then.
            Err(error) => tracing::warn!("mqtt {}: a receipt cannot be sent: {error}", self.session.config.name),
        }
    }
}
