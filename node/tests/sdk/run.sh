#!/usr/bin/env bash
# Runs the scenarios with the real SDKs against one real node, and again against three that are one
# cluster behind a TCP balancer: `run.sh [--nodes N]...`
# Needs Rust (or HANDBELL_BIN), Node 20, Python 3.11 and, for what is missing, apt.
set -euo pipefail
cd "$(dirname "$0")"

nodes=()
while [ $# -gt 0 ]; do
    case "$1 ${2:-}" in
        "--nodes "[1-9]) nodes+=("$2") && shift 2 ;;
        *) echo "usage: run.sh [--nodes N]..., N from 1 to 9" >&2 && exit 2 ;;
    esac
done
[ ${#nodes[@]} -gt 0 ] || nodes=(1 3)

has() { command -v "$1" >/dev/null; }
packages=
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || packages="$packages chromium"
has faketime || packages="$packages faketime"
has openssl || packages="$packages openssl"
python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    sudo=$(has sudo && echo sudo || true)
    $sudo apt-get update
    # shellcheck disable=SC2086 # A list of words.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes $packages
fi

npm ci --ignore-scripts
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt

if [ -z "${HANDBELL_BIN:-}" ]; then
    cargo build --package handbell
    root=$(cargo locate-project --workspace --message-format plain)
    HANDBELL_BIN=${CARGO_TARGET_DIR:-$(dirname "$root")/target}/debug/handbell
fi
export HANDBELL_BIN

mkdir -p .tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout .tls/key.pem -out .tls/certificate.pem
export NODE_EXTRA_CA_CERTS="$PWD/.tls/certificate.pem"
export HANDBELL_TLS_KEY="$PWD/.tls/key.pem"

failed=
closing=
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
for HANDBELL_NODES in "${nodes[@]}"; do
    export HANDBELL_NODES
    printf '\n== %s node(s)\n' "$HANDBELL_NODES"
    # pusher-js can leave a timer of 30 s behind when it was closed for good: nothing to wait for.
    node --test --test-reporter=spec --test-concurrency=2 --test-force-exit ./*.test.mjs \
        | tee "$logs/node" || failed="$failed node/$HANDBELL_NODES"
    .venv/bin/python -m pytest --quiet -p no:cacheprovider python \
        | tee "$logs/python" || failed="$failed python/$HANDBELL_NODES"
    node=$(grep -E '^ℹ (tests|pass|fail|skipped) ' "$logs/node" | tr -d 'ℹ\n' || true)
    closing+="$HANDBELL_NODES node(s): Node:$node; Python: $(tail -n 1 "$logs/python")"$'\n'
done
printf '\n%s' "$closing"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
