package wire

import "github.com/perennial-oauth/perennial/client/words"

// Problem is every error of the API: problem details of RFC 9457 with a stable
// code. It repeats nothing of a request but the names of its fields.
type Problem struct {
	_         struct{}    `additionalProperties:"true"`
	Title     string      `json:"title" doc:"The HTTP status in words"`
	Status    int         `json:"status" doc:"The HTTP status"`
	Code      words.Code  `json:"code" doc:"What went wrong, for programs; it is stable" example:"not_found"`
	Detail    string      `json:"detail" doc:"What went wrong and what to do, for people"`
	RequestID string      `json:"request_id,omitempty" doc:"Of this request, as in the header X-Request-Id and in the server's log"`
	Errors    []Invalid   `json:"errors,omitempty" nullable:"false" doc:"What is wrong with the request, by field"`
	State     *TokenState `json:"connection,omitempty" doc:"The connection, where it is the reason"`
}

// Invalid is what is wrong with one field of a request.
type Invalid struct {
	_        struct{} `additionalProperties:"true"`
	Location string   `json:"location,omitempty" example:"body.account_id"`
	Message  string   `json:"message"`
}

// The codes of a key that may not do what it was used for; every other code of a
// problem that a client acts on is one of [words.Code]'s.
const (
	CodeUnauthorized words.Code = "unauthorized"
	CodeScope        words.Code = "insufficient_scope"
)
