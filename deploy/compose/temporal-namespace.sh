#!/bin/sh
# Makes the namespace TEMPORAL_NAMESPACE, which keeps closed workflows for RETENTION,
# and waits until it can be used. Safe to repeat; a changed RETENTION is set.
set -eu

tries=60
try() { # COMMAND ...; repeats it until it succeeds
	until "$@" >/dev/null 2>/tmp/error; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || { echo "temporal-namespace: \"$*\" failed too often: $(cat /tmp/error)" >&2; exit 1; }
		sleep 1
	done
}
ensure() {
	if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE"; then
		temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
	else
		temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
	fi
}

try temporal operator cluster health
try ensure
try temporal workflow list --limit 1 # every process has heard of the namespace
echo "The namespace $TEMPORAL_NAMESPACE keeps closed workflows for $RETENTION."
