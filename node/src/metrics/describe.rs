//! What every metric means: the HELP lines.

use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::Unit;

pub(super) fn all() {
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help) in SECONDS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
    describe_histogram!(
        "handbell_fanout_size",
        "Connections that one publication went to in one relay shard"
    );
}

const COUNTERS: &[(&str, &str)] = &[
    ("handbell_connections_opened_total", "Connections let in"),
    ("handbell_connections_closed_total", "Connections ended, by who or what ended them"),
    ("handbell_handshakes_rejected_total", "Connections turned away before they were greeted"),
    (
        "handbell_slow_consumers_disconnected_total",
        "Connections closed because they read too slowly",
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
    ("handbell_rate_limited_total", "Requests and messages refused because they came too fast"),
    ("handbell_webhook_deliveries_total", "Webhook events, by what became of them"),
    ("handbell_channels_started_total", "Channel actors started"),
    ("handbell_actor_restarts_total", "Actors that failed, by kind"),
    ("handbell_process_cpu_seconds_total", "CPU time of the process, user and system"),
];

const GAUGES: &[(&str, &str)] = &[
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

const SECONDS: &[(&str, &str)] = &[
    ("handbell_connection_duration_seconds", "How long connections lasted"),
    (
        "handbell_delivery_latency_seconds",
        "From accepting a publication to the last write of a relay shard",
    ),
    ("handbell_http_request_duration_seconds", "How long requests to the HTTP API took"),
    ("handbell_webhook_duration_seconds", "How long one attempt to deliver a webhook took"),
];
