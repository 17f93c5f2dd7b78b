//! What to paste where: client settings for an app.

use std::net::SocketAddr;

use proto::app::Secret;

use crate::config::AppSection;

/// What `handbell dev` prints.
pub(super) fn dev(clients: SocketAddr, admin: SocketAddr, app: &AppSection) -> String {
    let (host, port) = (clients.ip().to_string(), clients.port());
    format!(
        "Handbell {version} is ringing on http://{clients} (metrics: http://{admin}/metrics)\n\
         These credentials are public: they are for this machine only. Stop with Ctrl-C.\n\n\
         {settings}\n\
         At other doors, without and with a token (handbell token --sub 7 --role user):\n\n\
         \x20 new EventSource(\"http://{clients}/sse/my-channel\")\n\
         \x20 io(\"http://{clients}\", {{ auth: {{ token }} }})  // socket.io-client\n\
         \x20 new WebSocket(\"ws://{clients}/ws?token=\" + token)\n\n\
         See it work, in two terminals:\n\n\
         \x20 handbell subscribe my-channel\n\
         \x20 handbell publish my-channel my-event '{{\"hello\":\"world\"}}'\n",
        version = env!("CARGO_PKG_VERSION"),
        settings = settings(&host, port, app),
    )
}

/// Paste-ready settings for the usual clients and servers.
pub(super) fn settings(host: &str, port: u16, app: &AppSection) -> String {
    let secret = app.secret.as_ref().map_or("", Secret::expose);
    let (id, key) = (&app.id, &app.key);
    let digits = app.aliases.first().unwrap_or(id);
    format!(
        r#"Browser or Node (pusher-js):

  new Pusher("{key}", {{ wsHost: "{host}", wsPort: {port}, forceTLS: false,
                        enabledTransports: ["ws", "wss"], cluster: "" }})

Laravel (.env):

  BROADCAST_CONNECTION=pusher
  PUSHER_APP_ID={id}
  PUSHER_APP_KEY={key}
  PUSHER_APP_SECRET={secret}
  PUSHER_HOST={host}
  PUSHER_PORT={port}
  PUSHER_SCHEME=http
  PUSHER_APP_CLUSTER=mt1

Node server (pusher):

  new Pusher({{ appId: "{id}", key: "{key}", secret: "{secret}",
               host: "{host}", port: "{port}", useTLS: false }})

Python server (pusher):

  pusher.Pusher("{digits}", "{key}", "{secret}", host="{host}", port={port}, ssl=False)

curl (signed by hand):

  body='{{"name":"my-event","channel":"my-channel","data":"hello"}}'
  query="auth_key={key}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$(printf %s "$body" | md5sum | cut -d' ' -f1)"
  signature=$(printf 'POST\n/apps/{id}/events\n%s' "$query" | openssl dgst -sha256 -hmac '{secret}' | cut -d' ' -f2)
  curl -H 'Content-Type: application/json' -d "$body" \
    "http://{host}:{port}/apps/{id}/events?$query&auth_signature=$signature"
"#
    )
}
