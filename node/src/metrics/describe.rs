//! What every metric means: the HELP lines.

use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::Unit;

pub(super) fn all() {
    of(COUNTERS, GAUGES);
    for (name, help) in SECONDS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
    describe_histogram!(
        "handbell_fanout_size",
        "Connections that one publication went to in one relay shard"
    );
}

/// The metrics of the cluster, which have a recorder of their own.
pub(super) fn cluster() {
    of(CLUSTER_COUNTERS, CLUSTER_GAUGES);
}

fn of(counters: &[Meaning], gauges: &[Meaning]) {
    for (name, help) in counters {
        describe_counter!(*name, *help);
    }
    for (name, help) in gauges {
        describe_gauge!(*name, *help);
    }
}

/// A name and its meaning.
type Meaning = (&'static str, &'static str);

const COUNTERS: &[Meaning] = &[
    ("handbell_connections_opened_total", "Connections let in"),
    ("handbell_connections_closed_total", "Connections ended, by who or what ended them"),
    ("handbell_handshakes_rejected_total", "Connections turned away before they were greeted"),
    (
        "handbell_slow_consumers_disconnected_total",
        "Connections closed because they read too slowly",
    ),
    (
        "handbell_events_shed_total",
        "Events of low priority that a connection did not get because it read too slowly",
    ),
    ("handbell_subscribe_requests_total", "Subscriptions, by outcome"),
    ("handbell_messages_published_total", "Events accepted, one for each channel"),
    ("handbell_messages_delivered_total", "Events given to connections"),
    ("handbell_received_bytes_total", "Bytes of messages from clients"),
    ("handbell_sent_bytes_total", "Bytes of events given to connections, headers included"),
    ("handbell_http_requests_total", "Requests to the HTTP API"),
    (
        "handbell_auth_failures_total",
        "Requests and subscriptions with a missing or wrong signature",
    ),
    (
        "handbell_authorizations_total",
        "Visitors without a token about whom the app was asked, by what came of it",
    ),
    ("handbell_rate_limited_total", "Requests and messages refused because they came too fast"),
    ("handbell_webhook_deliveries_total", "Webhook events, by what became of them"),
    ("handbell_channels_started_total", "Channel actors started"),
    ("handbell_actor_restarts_total", "Actors that failed, by kind"),
    ("handbell_process_cpu_seconds_total", "CPU time of the process, user and system"),
];

const GAUGES: &[Meaning] = &[
    ("handbell_connections", "Open connections"),
    ("handbell_channels", "Live channels"),
    ("handbell_subscriptions", "Connections subscribed, summed over channels"),
    ("handbell_presence_members", "Members, summed over presence channels"),
    ("handbell_webhook_queue_depth", "Webhook events that wait"),
    ("handbell_webhook_oldest_pending_seconds", "Age of the oldest webhook event that waits"),
    ("handbell_draining", "1 while the node shuts down"),
    (
        "handbell_config_last_reload_successful",
        "1 if the last reload of the configuration was taken over",
    ),
    (
        "handbell_config_last_reload_success_timestamp_seconds",
        "When the configuration was last taken over",
    ),
    ("handbell_build_info", "1, with the version as a label"),
    ("handbell_process_resident_memory_bytes", "Resident memory of the process"),
    ("handbell_process_open_fds", "Open file descriptors"),
    ("handbell_process_max_fds", "File descriptors that the process may open"),
    ("handbell_process_uptime_seconds", "Seconds since the process started"),
    ("handbell_tokio_alive_tasks", "Tasks of the runtime"),
    ("handbell_tokio_global_queue_depth", "Tasks that wait in the runtime's global queue"),
];

const SECONDS: &[Meaning] = &[
    ("handbell_connection_duration_seconds", "How long connections lasted"),
    (
        "handbell_delivery_latency_seconds",
        "From accepting a publication to the last write of a relay shard",
    ),
    ("handbell_http_request_duration_seconds", "How long requests to the HTTP API took"),
    ("handbell_webhook_duration_seconds", "How long one attempt to deliver a webhook took"),
];

const CLUSTER_COUNTERS: &[Meaning] = &[
    ("handbell_cluster_slots_taken_total", "Slots that this node took over"),
    ("handbell_cluster_slots_ceded_total", "Slots that this node gave away"),
    ("handbell_cluster_batches_sent_total", "Batches of messages sent to a peer"),
    ("handbell_cluster_batches_received_total", "Batches of messages received from a peer"),
    (
        "handbell_cluster_unreadable_messages_total",
        "Messages of a kind or form that this node, or a peer of it, does not know",
    ),
    ("handbell_cluster_connections_accepted_total", "Connections to the cluster port"),
    (
        "handbell_cluster_handshakes_refused_total",
        "Handshakes refused by either side, by the rule that was broken",
    ),
    ("handbell_cluster_handshakes_failed_total", "Handshakes that came to no end, by why"),
    ("handbell_cluster_datagrams_dropped_total", "Datagrams of gossip that were of no use, by why"),
    ("handbell_cluster_frames_late_total", "Frames of sessions that had ended"),
    (
        "handbell_cluster_sessions_flooded_total",
        "Sessions closed because the peer sent more than was taken",
    ),
];

const CLUSTER_GAUGES: &[Meaning] = &[
    ("handbell_cluster_members", "Nodes in this node's view, itself included, by phase"),
    ("handbell_cluster_ring_owned_ratio", "The part of all slots that this node serves"),
    ("handbell_cluster_copies", "Channels of which this node keeps a copy for another"),
    ("handbell_cluster_replication_lag", "Changes that successors have not confirmed yet"),
    ("handbell_cluster_peer_up", "1 while the link to a peer in the view works"),
    (
        "handbell_cluster_peer_rtt_seconds",
        "How long the last batch took until a peer had dealt with it",
    ),
    ("handbell_cluster_send_backlog_bytes", "Bytes for a peer that wait or are not acknowledged"),
    ("handbell_cluster_unanswered_asks", "Questions that a peer has not answered yet"),
    ("handbell_cluster_peers_suspected", "Peers to which this node has lost its link"),
    ("handbell_cluster_view_mismatch", "Live nodes that see other members than this one"),
    ("handbell_cluster_apps_mismatch", "Live nodes whose apps differ from this node's"),
    ("handbell_cluster_version_mismatch", "Live nodes that run another version of the program"),
    (
        "handbell_cluster_wire_mismatch",
        "Live nodes that speak another version of the cluster's protocol",
    ),
    ("handbell_cluster_handshakes_pending", "Handshakes going on at this moment"),
];
