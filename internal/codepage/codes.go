package codepage

import "github.com/perennial-oauth/perennial"

// line explains one code.
type line struct{ code, means, do string }

const (
	operatorWaits = "nothing: it goes on by itself"
	askOperator   = "give the operator the `request_id`"
)

// problems are the codes of the API's errors (application/problem+json).
var problems = []line{
	{"invalid", "the request does not match the document, or a value in it cannot be", "correct the request; `errors` names the members"},
	{"unauthorized", "no API key, or one that is unknown, expired or revoked", "use a valid key"},
	{"insufficient_scope", "the key may not do this", "use a key with one of the scopes in `WWW-Authenticate`"},
	{"other_user", "another user of the product gave this consent: nothing is stored", "that user starts again; a link is for the user for whom it was made"},
	{"tenant_required", "a key of every tenant names the tenant of each request", "send `Perennial-Tenant`"},
	{"not_found", "there is no such thing for this key: also if it is another tenant's", "check the id and the key's tenant"},
	{"method_not_allowed", "the path has no such method", "see `Allow`"},
	{"not_acceptable", "the answer is not available in the form that `Accept` asks for", "accept `application/json`"},
	{"timeout", "the request did not arrive in time", "send it again"},
	{"conflict", "the connection is in another state than this needs, or was changed at this moment", "read it and decide again, after `Retry-After`"},
	{"account_mismatch", "the tokens, or the consent, are of another account; nothing was changed", "reconnect with the first account, or connect the second one as a new connection"},
	{"reconnect_required", "the grant has ended: only the customer can help", "show the customer `connection.text` and a reconnect link"},
	{"paused", "the connection is paused", "resume it"},
	{"disconnected", "the connection has ended", "connect the account again"},
	{"still_unauthorized", "the newest token is young, or callers refreshed it again and again: another one would be refused too", "look for the reason at the provider's API, such as a permission or an account that was closed; try again after `connection.forced_at`"},
	{"generation_ahead", "`if_generation` is above the newest: the database was restored, or the number is wrong", "discard the token of that generation and get the current one"},
	{"idempotency_in_progress", "a request with this key is being worked on", "send it again after `Retry-After`"},
	{"idempotency_key_reused", "this key came with another request before", "use a new key for each request"},
	{"outcome_unknown", "the process died while it worked on a request with this key", "read what there is, then decide with a new key"},
	{"too_large", "the body is larger than 256 KiB", "send less"},
	{"unsupported_media_type", "the body is not JSON", "send `Content-Type: application/json`"},
	{"rate_limited", "this key asks too often", "try again after `Retry-After`"},
	{"internal", "something went wrong here", askOperator},
	{"sealed", "a stored value does not open with the keys of this process", askOperator + "; operators: `perennial doctor` names the key"},
	{"schema", "the database's schema is outside of what this program knows", "operators: run `perennial migrate`; callers: try again after `Retry-After`"},
	{"unavailable", "the database, Temporal or the provider does not answer", "try again after `Retry-After`"},
}

// failing are the codes of an active connection that is failing, and of attempts in the
// ledger. The provider's own codes are in [providers].
var failing = []line{
	// There was no answer.
	{"timeout", "no answer within `http_timeout`", operatorWaits},
	{"dns", "the host of the token endpoint has no address", "check `token_url` and the name servers of the workers"},
	{"connection_refused", "nothing could be connected to at the host", "check the way out of the workers' network; else the provider is down"},
	{"connection_lost", "the connection ended before the answer", operatorWaits},
	{"tls", "the provider's certificate, or the handshake, is not accepted", "check the clock and the certificates of the workers"},
	{"not_sent_or_lost", "the request failed, and nobody knows whether it was sent", operatorWaits},
	{"cancelled_before_sending", "the worker was stopping; nothing was sent", operatorWaits},
	{"http_5NN", "an answer with that status: the provider has trouble", operatorWaits},
	{"http_4NN", "refused with that status, without a code that can be read", "`perennial show` has the provider's request id: ask the provider, and describe its spelling"},
	{"malformed_reply", "an answer that cannot be read", "see [replies](replies.md)"},
	{"reply_kept", "an answer that may hold tokens and cannot be read; it is kept, sealed", "correct the description, then `perennial recover`: see [replies](replies.md)"},
	{"attempt_lost", "a process died, or lost its way, while an attempt was open: the token may be spent", operatorWaits + "; what happens next depends on the replay class"},
	{"attempt_lost_unsent", "the same, and nothing had been sent", operatorWaits},
	// The provider refused, and it is not believed, or not clear.
	{"grant_refused", "the provider refuses the grant in words without a code", operatorWaits + "; a second refusal ends the connection"},
	{"client_refused", "the provider refuses the client in words without a code", "check client id and secret of the app"},
	{"request_refused", "the provider refuses the request in words without a code", "save the answer and explain it with `perennial provider try APP --reply FILE`, then add a [spelling](providers.md#an-app-of-a-provider-in-the-catalogue)"},
	{"held_terminal", "many connections of the app were refused at once: that is not believed", "`perennial app show`; ask the provider; then `perennial app confirm`, or `perennial app release` for a false alarm"},
	{"never_worked", "an imported token set was refused before it ever worked", "`perennial app show` names the import's tenant; import the right tokens"},
	{"refused_unclear", "refused for an hour or more in words that say nothing", "ask the provider what the answer means, and describe its spelling"},
	{"too_early", "the provider refreshes only shortly before the token's end", operatorWaits},
	// Ours.
	{"app_not_configured", "the app is not in this worker's configuration", "give every worker the same configuration"},
	{"metadata_unread", "the provider describes itself, and its metadata could not be read yet", "`perennial doctor`; check `issuer`"},
	{"client_id_mismatch", "the app has another `client_id` than the connection was made with", "give the app its old `client_id` back, under another name for the new one"},
	{"client_key_unusable", "the app's key or secret cannot be read, or does not fit `auth_style`", "correct the file that the app names"},
	{"exchange_unusable", "the request that exchanges an access token cannot be made from the description", "correct `exchange` of the description"},
	{"client_secret_trial", "another attempt is finding out which of the app's secrets is right", operatorWaits},
	{"other_grant", "the connection was made with another `grant` than its app has now", "give the app its old `grant` back; make a new app for the other"},
	{"endpoint_not_found", "the token endpoint answers 404, 405 or 410", "check `token_url`"},
	{"redirected", "the token endpoint redirects; secrets are not sent after it", "set `token_url` to the address that it redirects to, if it is the provider's"},
	{"not_opened", "the stored token does not open with this worker's keys", "give the worker the keys: [keys](keys.md)"},
	{"not_sealed", "this worker's keys seal nothing, so nothing is presented", "give the worker the keys: [keys](keys.md)"},
	{"set_aside", "a token set of the connection could not be stored and is kept; its token is not presented", "`perennial doctor` says why: mostly a key that is missing"},
	{"unsaved", "tokens were received and could not be stored yet; the workflow or the spool has them", "bring the database back"},
	{"spool", "the connection's newest tokens wait in the spool, or the spool does not work", "`perennial doctor`; check the spool's disk"},
	{"unbound", "database and Temporal do not belong together: nothing is presented", "`perennial doctor`; then `perennial adopt` or `perennial restored`"},
	{"not_bound", "the same, in a program that connects customers", "`perennial doctor`; then `perennial adopt` or `perennial restored`"},
	{"store_rolled_back", "a restore took the row behind its workflow", "[after a restore](running.md)"},
	{"activity_failed", "a worker's activity failed or was killed", operatorWaits + "; if it stays, read the worker's log"},
	{"bound_token", "the access token is bound to a key (DPoP, mTLS): APIs refuse it as Bearer", "turn that off in the provider's app"},
	{"no_lifetime", "neither reply nor description says how long the access token lives", "set `default_lifetime`"},
	{"no_refresh_token", "the stored set has no refresh token", "the customer reconnects; ask for the scope that gives one"},
	// Waits.
	{"circuit_open", "the app is in trouble: its connections wait for a probe", "[apps in trouble](apps_in_trouble.md)"},
	{"slow_down", "the provider asked the app for fewer requests", operatorWaits},
	{"rate_limit", "waits for its turn under `max_refreshes_per_second`", operatorWaits + "; raise the limit if it is always so"},
	{"stopped", "an operator stopped the app", "`perennial app start`"},
	{"token_not_accepted_yet", "the provider's API refuses a token that is a moment old; package client waited once", "try again; if it stays, look at the API"},
}

// providers explains the codes of providers and of standards, by whose fault they are.
var providers = []struct {
	fault     perennial.Fault
	means, do string
}{
	{perennial.FaultGrant, "the grant has ended, or the provider says so", operatorWaits + ": the refusal is confirmed once; then the customer reconnects"},
	{perennial.FaultClient, "the provider does not accept the client: the app's, for all its connections", "check client id, secret, and the app at the provider; `perennial app show`"},
	{perennial.FaultRequest, "the provider does not accept the form, the origin or the time of the request", "check the description of the provider; if it is a limit, nothing"},
}

var reasons = []line{
	{"invalid_grant", "the provider refused the grant twice", "the customer reconnects"},
	{"rotation_lost", "a rotated token did not reach us: the provider consumed the old one, and its answer was lost", "the customer reconnects; say that it was not the customer's doing"},
	{"no_refresh_token", "the provider gave no refresh token", "ask for the scope that gives one, then the customer reconnects"},
	{"grant_ended", "the time that the provider allows for one consent is over", "the customer reconnects"},
	{"idle_expired", "the refresh token was not used for longer than the provider allows", "the customer reconnects"},
	{"grant_replaced", "the provider allows a user so many grants, and a newer connection of the account ended this one", "the customer reconnects; see whether two connections of one account are needed"},
	{"sign_in_required", "the provider wants the customer to sign in, or to consent, again", "the customer reconnects"},
	{"credentials_refused", "the credentials that the customer entered are no longer accepted", "the customer enters new ones, or restores the access at the provider"},
	{"scopes_missing", "the grant lost a permission that the app requires", "the customer reconnects and allows every permission"},
	{"operator", "an operator ended it by a command", "the customer reconnects"},
}

var consents = []line{
	{"connected", "the grant is stored and its workflow runs", "nothing"},
	{"access_denied", "the customer did not allow access", "nothing; the link still works"},
	{"provider_down", "the provider says that it has trouble, or does not answer", "nothing; the link still works"},
	{"misconfigured", "the provider does not accept our registration: client, redirect URI or scopes", "operators: the server's log names it"},
	{"code_refused", "the code had expired, or was used already", "nothing; the link still works"},
	{"mixed_up", "another server than the provider answered (RFC 9207)", "check `issuer`; if it is right, somebody tries to mix servers up"},
	{"account_unknown", "the provider does not say which account the grant is for", "check `account` of the description"},
	{"account_mismatch", "a reconnect came with another account", "nothing; the customer signs in with the right one"},
	{"choose_account", "the grant reaches several accounts, and waits for the customer to choose one", "nothing"},
	{"account_not_chosen", "no account was chosen in time; the grant was given back", "nothing; the link still works"},
	{"scopes_missing", "the customer did not allow every permission", "nothing; the link still works"},
	{"no_refresh_token", "the provider gave access for a short time only", "ask for the scope that gives a refresh token"},
	{"connection_gone", "the connection to reconnect no longer exists", "make a link for a new connection"},
	{"awaiting_finish", "a bound session's grant waits, sealed, until the product finishes", "product: `finish` with the code and the verifier, within ten minutes"},
	{"not_finished", "the product did not finish in time; the grant was given back", "product: make a new link; look why `finish` was not called"},
	{"unfinished", "the grant is kept, sealed, and stored as soon as the database or Temporal is back", "bring the database or Temporal back"},
}

var events = []line{
	{"connection.connected", "a grant was stored, new or again", "use it"},
	{"connection.reconnect_required", "only the customer can help; `reason` says why", "stop its jobs; show the customer a reconnect link"},
	{"connection.recovered", "a failing or ended connection works again", "go on with its jobs"},
	{"connection.failing", "refreshes fail; `code` says why. The access token is served until its end", "product: nothing. Operators: the table of failing codes"},
	{"connection.expiring_soon", "the refresh token or the consent ends in some days, whatever we do", "ask the customer to reconnect before that"},
	{"connection.scopes_missing", "the grant lost a permission that the app requires; it is refreshed all the same", "show the customer a reconnect link where the permission is needed"},
	{"connection.scopes_restored", "it has all of them again", "go on"},
	{"connection.disconnected", "the connection has ended", "remove what needs it"},
	{"app.circuit_opened", "the app is in trouble: its connections wait", "operators: [apps in trouble](apps_in_trouble.md)"},
	{"app.circuit_releasing", "a probe succeeded: those that wait go one after another", "nothing"},
	{"app.circuit_closed", "the app's trouble is over", "nothing"},
	{"app.stopped", "an operator stopped the app", "`perennial app start` when it may go on"},
	{"app.started", "an operator started it again", "nothing"},
	{"app.hold_raised", "many refusals at once are not believed", "operators: `perennial app show`"},
	{"app.hold_ended", "the hold is over", "nothing"},
}

var outcomes = []line{
	{"refreshed", "a new token set is stored", ""},
	{"already_fresh", "somebody else had refreshed it", ""},
	{"busy", "another attempt is open", ""},
	{"revoked", "the provider refused the grant", ""},
	{"misconfigured", "the client, or a setting of ours, is at fault; no connection changes its status", ""},
	{"rate_limited", "the provider asks for fewer requests", ""},
	{"too_early", "the provider refreshes only shortly before the token's end", ""},
	{"unavailable", "nothing was sent, or the provider says that it has trouble", ""},
	{"unknown", "sent, and no definite answer", ""},
	{"held", "the gate, or a wait, allows no request yet; `too_soon`: callers had it refreshed a moment ago", ""},
	{"rejected", "refused in another way", ""},
	{"refused", "the connection's status allows no attempt", ""},
	{"not_found", "the connection's row is gone", ""},
}

var exits = map[int]string{
	0: "done",
	1: "any other error",
	2: "wrong usage, or wrong settings",
	3: "no such connection, app or provider",
	4: "refused because of the stored state",
	5: "only the customer can help: reconnect or resume",
	6: "a server does not answer; try again",
}
