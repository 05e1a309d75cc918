#!/usr/bin/env bash
# The whole life of a connection with curl only: a link, the customer's consent, a
# token, a fresh token, the list, the attempts, the end.
#
#   PERENNIAL_URL=http://127.0.0.1:8080 PERENNIAL_KEY=pk_... examples/curl/connect.sh hubspot
#
# The key needs the scopes tokens:read and connections:write. The script
# uses the access tokens at PROVIDER_API, a URL of the provider, and never prints them.
set -euo pipefail

app=${1:?give the app of the configuration: connect.sh hubspot}
: "${PERENNIAL_URL:?}" "${PERENNIAL_KEY:?}" "${PROVIDER_API:?}"

# curl reads the key and the tokens from its standard input: every user of the machine
# can see arguments.
ask() { # METHOD PATH [JSON]
	curl --silent --show-error --fail-with-body --request "$1" "$PERENNIAL_URL$2" --header @- \
		${3:+--header "Content-Type: application/json" --data "$3"} <<<"Authorization: Bearer $PERENNIAL_KEY"
}
provider() { # TOKEN; prints the HTTP status
	curl --silent --output /dev/null --write-out '%{http_code}' "$PROVIDER_API" --header @- <<<"Authorization: Bearer $1"
}
# Prints a member that occurs once in the JSON. Use jq or a JSON parser instead.
member() { # NAME JSON
	sed -nE "s/.*\"$1\":\"?([^\",}]*).*/\1/p" <<<"$2"
}

session=$(ask POST /v1/connect-sessions "{\"app\": \"$app\", \"tenant_title\": \"Jane's Bikes\"}")
echo "Open this link and allow access: $(member link "$session")"

session_id=$(member id "$session")
for _ in $(seq 300); do
	session=$(ask GET "/v1/connect-sessions/$session_id")
	[ "$(member outcome "$session")" != connected ] || break
	sleep 1
done
id=$(member result_id "$session")
[ -n "$id" ] || { echo "Nobody connected an account." >&2; exit 1; }
echo "Connected: $id"

token=$(ask GET "/v1/connections/$id/token")
generation=$(member generation "$token")
echo "Token of generation $generation: the provider answers $(provider "$(member access_token "$token")")"

# This refresh is by hand; Perennial refreshes by itself before each token expires.
ask POST "/v1/connections/$id/refresh" "{\"if_generation\": $generation}" >/dev/null
token=$(ask GET "/v1/connections/$id/token")
echo "Token of generation $(member generation "$token"): the provider answers $(provider "$(member access_token "$token")")"

echo "Active connections: $(ask GET "/v1/connections?status=active&app=$app" | grep -o '"account_id":"[^"]*"' | tr '\n' ' ')"
echo "Attempts: $(ask GET "/v1/connections/$id/attempts" | grep -o '"outcome":"[^"]*"' | tr '\n' ' ')"

ended=$(ask POST "/v1/connections/$id/disconnect")
echo "Ended: $(member status "$ended"), its grant at the provider: $(member revocation "$ended")"
