//! The cluster's metrics. Each scrape reads them from the tables into a recorder of its own, so that
//! a peer that is gone has no series.
#![allow(clippy::cast_precision_loss)] // Prometheus knows nothing but floats.

use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use proto::cluster::slot::SLOTS;
use proto::cluster::view::Phase;

use crate::channels::Channels;
use crate::cluster::engine::Counts;
use crate::cluster::{Cluster, LinkStatus};

use super::describe;

/// The metrics in Prometheus' text format. A node without a cluster shows only its ring of one.
pub(super) fn render(channels: &Channels, cluster: Option<&Cluster>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        describe::cluster();
        read_ring(channels);
        if let Some(cluster) = cluster {
            channels.peers().status().iter().for_each(read_link);
            read_agreement(cluster);
            read_engine(&cluster.engine.counts());
        }
    });
    recorder.handle().render()
}

fn read_ring(channels: &Channels) {
    let view = channels.peers().view();
    let phases =
        [(Phase::Joining, "joining"), (Phase::Serving, "serving"), (Phase::Draining, "draining")];
    for (phase, label) in phases {
        let members = view.iter().flat_map(|view| view.members());
        let count = members.filter(|member| member.phase == phase).count();
        gauge!("handbell_cluster_members", "phase" => label).set(count as f64);
    }
    let owned = f64::from(channels.slots_served()) / f64::from(SLOTS);
    gauge!("handbell_cluster_ring_owned_ratio").set(owned);
    gauge!("handbell_cluster_copies").set(channels.copies() as f64);
    gauge!("handbell_cluster_replication_lag").set(channels.replication_lag() as f64);
    let (taken, ceded) = channels.moves();
    counter!("handbell_cluster_slots_taken_total").absolute(taken);
    counter!("handbell_cluster_slots_ceded_total").absolute(ceded);
}

fn read_link(link: &LinkStatus) {
    let labels = [("peer", link.peer.node.to_string())];
    let is_up = f64::from(u8::from(link.state == "up"));
    gauge!("handbell_cluster_peer_up", &labels).set(is_up);
    let seconds = link.round_trip_micros as f64 / 1e6;
    gauge!("handbell_cluster_peer_rtt_seconds", &labels).set(seconds);
    gauge!("handbell_cluster_send_backlog_bytes", &labels).set(link.backlog as f64);
    gauge!("handbell_cluster_unanswered_asks", &labels).set(link.asks as f64);
    let (sent, received) = link.batches;
    counter!("handbell_cluster_batches_sent_total", &labels).absolute(sent);
    counter!("handbell_cluster_batches_received_total", &labels).absolute(received);
}

fn read_agreement(cluster: &Cluster) {
    let suspects = cluster.engine.facts().suspects.len();
    gauge!("handbell_cluster_peers_suspected").set(suspects as f64);
    let differences = cluster.differences();
    gauge!("handbell_cluster_view_mismatch").set(differences.view.len() as f64);
    gauge!("handbell_cluster_apps_mismatch").set(differences.apps.len() as f64);
    gauge!("handbell_cluster_version_mismatch").set(differences.version.len() as f64);
    gauge!("handbell_cluster_wire_mismatch").set(differences.wire.len() as f64);
    counter!("handbell_cluster_unreadable_messages_total").absolute(cluster.inbox.unknown());
}

fn read_engine(counts: &Counts) {
    for (rule, count) in &counts.refused {
        let label = rule.label();
        counter!("handbell_cluster_handshakes_refused_total", "rule" => label).absolute(*count);
    }
    let failed =
        [("evicted", counts.evicted), ("overdue", counts.overdue), ("broken", counts.broken)];
    for (reason, count) in failed {
        counter!("handbell_cluster_handshakes_failed_total", "reason" => reason).absolute(count);
    }
    let dropped = [
        ("garbage", counts.datagrams_garbage),
        ("clock", counts.datagrams_clock),
        ("repeated", counts.datagrams_repeated),
        ("unsent", counts.datagrams_unsent),
    ];
    for (reason, count) in dropped {
        counter!("handbell_cluster_datagrams_dropped_total", "reason" => reason).absolute(count);
    }
    gauge!("handbell_cluster_handshakes_pending").set(counts.pending as f64);
    counter!("handbell_cluster_connections_accepted_total").absolute(counts.accepted);
    counter!("handbell_cluster_frames_late_total").absolute(counts.frames_late);
    counter!("handbell_cluster_sessions_flooded_total").absolute(counts.sessions_flooded);
}
