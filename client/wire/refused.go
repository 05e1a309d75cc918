package wire

import "github.com/perennial-oauth/perennial/client/words"

// RefusedBody is the body of POST /v1/connections/{id}/refused.
type RefusedBody struct {
	Generation int64              `json:"generation,omitempty" minimum:"0" doc:"Of the token that was refused. It may be left out with revoked_at_provider, which is about the grant: then it is the newest"`
	Why        words.RefusalCause `json:"why" enum:"token_refused,revoked_at_provider" doc:"token_refused: an API refused the token, and not by a 401; revoked_at_provider: the provider sent word that the customer's access was removed"`
}

// RefusedResult is what became of a report.
type RefusedResult string

// The results.
const (
	// RefusedNewer: there is a newer token, or there was one already. Use it.
	RefusedNewer RefusedResult = "newer"
	// RefusedPending: the provider has given no answer yet that decides.
	RefusedPending RefusedResult = "pending"
)

// RefusedAnswer is the answer to a report.
type RefusedAnswer struct {
	_      struct{}      `additionalProperties:"true"`
	Result RefusedResult `json:"result" enum:"newer,pending" doc:"newer: the connection has a newer token than the one reported: use that. pending: the provider has not decided yet; connection.retry_at says when it is asked again, or may be"`
	State  TokenState    `json:"connection"`
}
