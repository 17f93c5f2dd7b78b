#!/bin/sh
# Breaks a cluster of real nodes under load and says whether anything was lost: chaos.sh [options].
# The options are those of `handbell-loadtest chaos --help`; --smoke takes a minute.
# Needs root, Rust (or HANDBELL_BIN) and, for what is missing, apt. Everything happens in a network
# namespace of its own, and every process ends with the runner.
set -eu
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ]; }
packages=
has nft || packages="$packages nftables"
has ip || packages="$packages iproute2"
has unshare || packages="$packages util-linux"
if [ -n "$packages" ]; then
    sudo=$(command -v sudo || true)
    $sudo apt-get update
    # shellcheck disable=SC2086 # A list of words.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes $packages
fi
PATH=$PATH:/usr/sbin
export PATH

# Optimised, but without the link-time optimisation of a release, which takes longer than the smoke set.
built=${CARGO_TARGET_DIR:-target}/chaos
if [ -z "${HANDBELL_BIN:-}" ]; then
    cargo build --profile chaos --locked --package handbell
    HANDBELL_BIN=$built/handbell
fi
cargo build --profile chaos --locked --package handbell-loadtest
exec "$built/handbell-loadtest" chaos --server "$HANDBELL_BIN" "$@"
