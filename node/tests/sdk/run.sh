#!/bin/sh
# Runs the scenarios with the real SDKs against a real server.
# Needs Rust (or HANDBELL_BIN), Node 20, Python 3.11 and, for what is missing, apt.
set -eu
cd "$(dirname "$0")"

has() { command -v "$1" >/dev/null; }
packages=
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || packages="$packages chromium"
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
# pusher-js can leave a timer of 30 s behind when it was closed for good: nothing to wait for.
node --test --test-reporter=spec --test-concurrency=2 --test-force-exit ./*.test.mjs || failed="$failed node"
.venv/bin/python -m pytest --quiet -p no:cacheprovider python || failed="$failed python"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
