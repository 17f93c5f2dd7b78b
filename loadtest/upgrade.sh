#!/bin/sh
# Upgrades a cluster of an earlier version node by node under load, and back, and breaks a cluster of
# both versions: upgrade.sh [BASE] [options of `handbell-loadtest chaos`]. BASE is a commit, by
# default the one that `upgrade-base` names. Its program is built in a work tree of its own, into the
# same target folder, so that what both versions depend on is built once.
# Needs root, git, Rust, nft, ip and unshare.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
export PATH

base=$(cat loadtest/upgrade-base)
case ${1:-} in
'' | -*) ;;
*)
    base=$1
    shift
    ;;
esac

target=${CARGO_TARGET_DIR:-$PWD/target}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The tree stays: as long as BASE is the same, nothing of it is built again.
tree=$target/upgrade
if [ -e "$tree/.git" ]; then
    git -C "$tree" checkout --detach --quiet "$base"
else
    git worktree prune
    git worktree add --detach --quiet "$tree" "$base"
fi
(cd "$tree" && cargo build --profile chaos --locked --package handbell --target-dir "$target")
cp "$target/chaos/handbell" "$folder/before"
cargo build --profile chaos --locked --package handbell --package handbell-loadtest
cp "$target/chaos/handbell" "$folder/now"
# The runner starts itself again and again, also while something else is built.
cp "$target/chaos/handbell-loadtest" "$folder/runner"

chaos() { "$folder/runner" chaos --server-before "$folder/before" --server "$folder/now" "$@"; }
status=0
echo "upgrade from $base and back, twice"
chaos --faults upgrade --schedules 4 "$@" || status=$?
echo "kills, joins and leaves in a cluster of both versions"
chaos --mixed --faults kill,kill-owner,join,leave --schedules 8 "$@" || status=$?
exit "$status"
