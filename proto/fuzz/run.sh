#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (default 60) on the nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
for target in $(cargo +nightly fuzz list); do
  printf '\n== %s\n' "$target"
  cargo +nightly fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=16384 \
    -rss_limit_mb=512 -timeout=5 -print_final_stats=1 2>&1 | tail -12
done
