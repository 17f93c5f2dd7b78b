#!/usr/bin/env bash
# Runs the published test suites of Engine.IO 4 and Socket.IO 5, and the JavaScript and Python
# clients, against the fixture on Handbell's transports. Needs Rust (or FIXTURE_BIN), Node 20 and
# Python 3.11 with venv.
set -euo pipefail
cd "$(dirname "$0")"

npm ci --ignore-scripts
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt

if [ -z "${FIXTURE_BIN:-}" ]; then
    cargo build --package handbell --example socketio_fixture
    root=$(cargo locate-project --workspace --message-format plain)
    FIXTURE_BIN=${CARGO_TARGET_DIR:-$(dirname "$root")/target}/debug/examples/socketio_fixture
fi

mkdir -p .run
"$FIXTURE_BIN" 127.0.0.1:0 > .run/listening &
fixture=$!
trap 'kill "$fixture"' EXIT
for _ in $(seq 100); do
    [ -s .run/listening ] && break
    sleep 0.1
done
address=$(sed 's/listening on //' .run/listening)

# The suites are kept as they were published; only the address is another.
cp node-imports.js .run/
for suite in engine.io-protocol.js socket.io-protocol.js; do
    sed "s/localhost:3000/$address/" "$suite" > ".run/$suite"
done

failed=
npx mocha --exit .run/engine.io-protocol.js || failed="$failed engine.io"
npx mocha --exit .run/socket.io-protocol.js || failed="$failed socket.io"
export FIXTURE="http://$address"
node --test --test-reporter=spec --test-timeout=30000 client.test.mjs || failed="$failed client"
.venv/bin/python client.py || failed="$failed python"
[ -z "$failed" ] || { echo "failed:$failed" >&2 && exit 1; }
