#!/usr/bin/env bash
# slowhttptest's four modes against one node: slow headers, slow bodies, range requests, slow reads.
# Prints whether the server stayed available to a probe throughout. Installs slowhttptest from Debian.
# Usage: slowhttp.sh [connections] [seconds for each mode]
set -euo pipefail
cd "$(dirname "$0")/../.."
connections=${1:-1000} seconds=${2:-15}
command -v slowhttptest >/dev/null || { apt-get update -qq && apt-get install -y -qq slowhttptest >/dev/null; }
cargo build -q --release -p handbell
"${CARGO_TARGET_DIR:-target}/release/handbell" dev --port 6901 --admin-port 6902 > /dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
until (exec 3<>/dev/tcp/127.0.0.1/6901) 2>/dev/null; do sleep 0.1; done
failed=0
for mode in H B R X; do
  url=http://127.0.0.1:6901/
  [ "$mode" = B ] && url=http://127.0.0.1:6901/apps/app-id/events
  report=$(slowhttptest "-$mode" -c "$connections" -r 500 -i 2 -l "$seconds" -p 3 -u "$url" 2>&1 \
    | sed 's/\x1b\[[0-9;]*m//g' | tr '\r' '\n')
  available=$(grep -cE 'service available: *YES' <<<"$report" || true)
  unavailable=$(grep -cE 'service available: *NO' <<<"$report" || true)
  { [ "$available" -gt 0 ] && [ "$unavailable" = 0 ]; } || failed=1
  echo "slowhttptest -$mode: $connections connections, available in $available reports, unavailable in $unavailable"
done
exit "$failed"
