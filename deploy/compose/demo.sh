#!/bin/sh
# Has the fake provider grant access to one account and connects it. Run again,
# it connects the same account with a new grant.
set -eu

tries=60
until reply=$(wget -q -O - --header 'Content-Type: application/json' \
	--post-data '{"client": "demo", "account": "62515"}' http://127.0.0.1:9000/_control/grant); do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || { echo "demo: the fake provider does not answer" >&2; exit 1; }
	sleep 1
done

printf '%s' "$reply" |
	perennial connect --app demo --tenant demo --account 62515 --tokens - --config /etc/perennial/perennial.yaml
perennial list --config /etc/perennial/perennial.yaml
