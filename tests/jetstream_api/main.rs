//! The JetStream API of leafd beside that of a real nats-server: the same requests go to both, and the answers are the
//! same but for times, for what each server takes in memory, and for what `known.rs` lists with its reason.

mod batches;
mod behaviour;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod consumers;
mod errors;
mod events;
mod known;
mod levels;
mod messages;
mod peers;
mod rare;
mod room;
mod schedules;
mod snapshots;
mod streams;

use peers::Peers;
use serde_json::json;

#[tokio::test]
async fn streams_are_made_changed_and_told_of_as_by_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    streams::fields(&mut peers).await;
    streams::combinations(&mut peers).await;
    streams::updates(&mut peers).await;
    streams::requests(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn consumers_are_made_changed_and_told_of_as_by_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    consumers::fields(&mut peers).await;
    consumers::updates(&mut peers).await;
    consumers::requests(&mut peers).await;
    consumers::pulls(&mut peers).await;
    consumers::pins(&mut peers).await;
    consumers::resets(&mut peers).await;
    consumers::acks(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_words_of_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    errors::names(&mut peers).await;
    errors::origins(&mut peers).await;
    errors::consumers(&mut peers).await;
    errors::contradictions(&mut peers).await;
    errors::rooms(&mut peers).await;
    rare::work_queues(&mut peers).await;
    rare::follows(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn events_tell_what_those_of_nats_server_tell() {
    let Some(mut peers) = Peers::start().await else { return };
    events::kinds(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn headers_of_requests_mean_what_they_mean_to_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    levels::required(&mut peers).await;
    levels::identities(&mut peers).await;
    levels::crowds(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn messages_are_taken_in_and_given_out_as_by_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    messages::publishes(&mut peers).await;
    messages::gets(&mut peers).await;
    messages::removals(&mut peers).await;
    messages::subjects_with_wildcards(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn batches_are_stored_as_by_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    batches::fast(&mut peers).await;
    batches::fast_ended_at_once(&mut peers).await;
    batches::contents(&mut peers).await;
    batches::ends(&mut peers).await;
    batches::sizes(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn backups_cross_from_each_server_to_the_other() {
    for options in
        [json!({ "chunk_size": 1024, "window_size": 2048 }), json!({}), json!({ "no_consumers": true, "jsck": true })]
    {
        let Some(mut peers) = Peers::start().await else { return };
        snapshots::both_ways(&mut peers, options).await;
    }
    let Some(mut peers) = Peers::start().await else { return };
    snapshots::older(&mut peers).await;
    snapshots::refusals(&mut peers).await;
    snapshots::advisories(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn schedules_give_what_they_give_with_nats_server() {
    let Some(mut peers) = Peers::start().await else { return };
    schedules::checks(&mut peers).await;
    schedules::gifts(&mut peers).await;
    peers.finish();
}

#[tokio::test]
async fn streams_do_by_themselves_what_those_of_nats_server_do() {
    let Some(mut peers) = Peers::start().await else { return };
    behaviour::consumer_limits(&mut peers).await;
    behaviour::copies_and_sums(&mut peers).await;
    behaviour::pauses(&mut peers).await;
    behaviour::ages(&mut peers).await;
    behaviour::own_doings(&mut peers).await;
    behaviour::direct_gets_in_order(&mut peers).await;
    rare::sums_of_sums(&mut peers).await;
    rare::start_points(&mut peers).await;
    room::made_by_acks(&mut peers).await;
    peers.finish();
}
