#!/usr/bin/env bash
# What an operator may say to a connection's workflow with Temporal's command line: make it
# read its row, ask how the connection is, ask for a fresh token. The contract is
# docs/signals.md.
#
#   TEMPORAL_ADDRESS=127.0.0.1:7233 examples/signals/signals.sh con_... perennial
#
# The second argument is the workers' task queue.
set -euo pipefail

id=${1:?give the id of a connection: signals.sh con_... perennial}
queue=${2:?give the task queue of the workers: signals.sh con_... perennial}

# A plain signal finds no workflow if the last run was terminated. With a start it always
# arrives, and a running workflow is not started again.
temporal workflow signal-with-start --workflow-id "connection/$id" --signal-name nudge \
	--type ConnectionWorkflow --task-queue "$queue" --input "{\"connection_id\": \"$id\", \"revision\": 1}" >/dev/null

status=$(temporal workflow query --workflow-id "connection/$id" --type status --output json)
number() { sed -nE 's/.*"generation": *([0-9]+).*/\1/p' <<<"$1" | head -1; }
generation=$(number "$status")
echo "status $(sed -nE 's/.*"status": *"([a-z_]+)".*/\1/p' <<<"$status" | head -1), generation $generation"

# With if_generation a repeated request does no harm: the second caller gets already_fresh.
if ! reply=$(temporal workflow update execute --workflow-id "connection/$id" --name refresh_now \
	--input "{\"if_generation\": $generation}" --output json 2>&1); then
	echo "not refreshed: $reply" # reconnect_required, paused, ...
	exit 0
fi
echo "refresh $(sed -nE 's/.*"outcome": *"([a-z_]+)".*/\1/p' <<<"$reply" | head -1), generation $(number "$reply")"
