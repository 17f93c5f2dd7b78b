//! What a node shows of its cluster, as JSON for `handbell cluster status` and for tests.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use proto::channel::{Command, Reply};
use proto::cluster::slot::{SLOTS, Slot};
use proto::{AppId, ChannelKey, ChannelName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::server::Server;

use super::Admin;

/// Which channel is asked about.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    app: String,
    channel: String,
}

impl Which {
    fn key(&self) -> Result<ChannelKey, (StatusCode, String)> {
        let bad = |error: proto::name::NameError| (StatusCode::BAD_REQUEST, error.to_string());
        let app = AppId::parse(&self.app).map_err(bad)?;
        let channel = ChannelName::parse(&self.channel).map_err(bad)?;
        Ok(ChannelKey { app, channel })
    }
}

/// `GET /cluster`.
pub(super) async fn status(State(admin): State<Admin>) -> Json<Value> {
    Json(of_node(&admin.server))
}

fn of_node(server: &Server) -> Value {
    let (router, channels) = (&server.router, server.router.channels());
    let view = router.view();
    let members: Vec<Value> = view
        .iter()
        .flat_map(|view| view.members().iter().map(move |member| (view, member)))
        .map(|(view, member)| {
            json!({
                "id": member.id.node.as_str(),
                "incarnation": format!("{:x}", member.id.incarnation),
                "phase": member.phase,
                "slots": view.share(&member.id.node),
            })
        })
        .collect();
    let (taken, ceded) = channels.moves();
    json!({
        "node": {
            "id": router.me().node.as_str(),
            "incarnation": format!("{:x}", router.me().incarnation),
        },
        "phase": phase(server),
        "version": env!("CARGO_PKG_VERSION"),
        "rejected": server.cluster.as_ref().and_then(|cluster| {
            cluster.status.rejection.load().as_ref().map(|reason| reason.to_string())
        }),
        "view": {
            "hash": view.as_ref().map(|view| format!("{:016x}", view.hash())),
            "members": members,
        },
        "others": others(server),
        "differences": server.cluster.as_ref().map(Cluster::differences),
        "slots_owned": channels.slots_served(),
        "slots_taken": taken,
        "slots_ceded": ceded,
        "slots_total": SLOTS,
        "channels_owned": channels.census().len(),
        "copies": channels.copies(),
        "links": links(server),
        "unreadable_messages": server.cluster.as_ref().map_or(0, |cluster| cluster.inbox.unknown()),
    })
}

fn phase(server: &Server) -> Value {
    match &server.cluster {
        Some(cluster) => json!(cluster.status.phase.load().as_deref()),
        None => "alone".into(),
    }
}

/// What the other nodes say of themselves: the same view, the same apps?
fn others(server: &Server) -> Vec<Value> {
    let Some(cluster) = &server.cluster else {
        return Vec::new();
    };
    let (seen, me) = (cluster.status.seen.load(), cluster.engine.facts());
    let seen = seen.iter().flat_map(|seen| seen.iter());
    seen.map(|seen| {
        json!({
            "id": seen.facts.id.node.as_str(),
            "incarnation": format!("{:x}", seen.facts.id.incarnation),
            "is_live": seen.is_live,
            "phase": seen.facts.phase,
            "view_hash": format!("{:016x}", seen.facts.view_hash),
            "apps_match": seen.facts.apps_digest == me.apps_digest,
            "version": seen.facts.version,
            "wire": format!("{}.{}", seen.facts.wire >> 8, seen.facts.wire & 0xff),
        })
    })
    .collect()
}

fn links(server: &Server) -> Vec<Value> {
    let status = server.router.peers().status();
    status
        .iter()
        .map(|link| {
            json!({
                "peer": link.peer.node.as_str(),
                "incarnation": format!("{:x}", link.peer.incarnation),
                "state": link.state,
                "backlog_bytes": link.backlog,
                "unanswered": link.asks,
                "batches_sent": link.batches.0,
                "batches_received": link.batches.1,
                "rtt_us": link.round_trip_micros,
            })
        })
        .collect()
}

/// `GET /cluster/owner?app=&channel=`.
pub(super) async fn owner(
    State(admin): State<Admin>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let slot = Slot::of(&which.key()?);
    let view = admin.server.router.view();
    let view = view.ok_or((StatusCode::SERVICE_UNAVAILABLE, "there is no view yet".into()))?;
    Ok(Json(json!({
        "slot": slot.index(),
        "owner": view.owner(slot).node.as_str(),
        "successor": view.successor(slot).map(|id| id.node.as_str()),
    })))
}

/// `GET /cluster/channel?app=&channel=`: asked of the channel itself, wherever it is.
pub(super) async fn channel(
    State(admin): State<Admin>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let key = which.key()?;
    let router = &admin.server.router;
    let owner = router.owner(Slot::of(&key)).map(|owner| owner.node.to_string());
    let answer = router.ask(key, Command::Inspect).answer().await;
    match answer {
        Ok(Reply::Channel(summary)) => Ok(Json(json!({
            "owner": owner,
            "epoch": summary.position.map(|position| position.epoch.to_string()),
            "offset": summary.position.map(|position| position.offset.0),
            "subscribers": summary.subscribers,
            "members": summary.members,
        }))),
        Ok(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "an answer to another question".into())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}
