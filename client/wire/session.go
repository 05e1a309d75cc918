package wire

import (
	"time"

	"github.com/perennial-oauth/perennial/client/words"
)

// NewSession is the body of POST /v1/connect-sessions: it asks for a connect link.
type NewSession struct {
	App          string            `json:"app,omitempty" maxLength:"100" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"Of the configuration; not needed with connection_id"`
	ConnectionID string            `json:"connection_id,omitempty" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$" doc:"That is to be reconnected; absent: a connect"`
	Host         string            `json:"host,omitempty" maxLength:"255" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"The account's own host, where the provider has one for each"`
	ReturnURL    string            `json:"return_url,omitempty" maxLength:"2048" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"Where the customer goes afterwards; below one of connect.return_urls"`
	Scopes       []string          `json:"scopes,omitempty" maxItems:"100" nullable:"false" doc:"Asked for and required; the app's by default"`
	Challenge    string            `json:"challenge,omitempty" maxLength:"43" pattern:"^([A-Za-z0-9_-]{43})?$" doc:"Makes the session bound: base64url of the SHA-256 of a verifier (RFC 7636, S256) that your own user's session keeps. The grant is then stored by the finish alone. Absent: whoever has the link can connect"`
	Mode         words.ConnectMode `json:"mode,omitempty" enum:"page,popup" doc:"page by default; a popup needs a return_url"`
	TenantTitle  string            `json:"tenant_title,omitempty" maxLength:"100" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"What the page calls the tenant"`
	Lifetime     int               `json:"lifetime,omitempty" minimum:"0" maximum:"86400" doc:"Seconds that the link lives, from 60; connect.lifetime by default"`
}

// ConnectSession is a connect link, and what came of it.
type ConnectSession struct {
	_             struct{}             `additionalProperties:"true"`
	ID            string               `json:"id"`
	Link          string               `json:"link,omitempty" doc:"For the customer only: whoever has it can connect an account to this tenant until it expires. It is shown this once"`
	App           string               `json:"app"`
	ConnectionID  string               `json:"connection_id,omitempty" doc:"That is to be reconnected; absent: a connect"`
	Host          string               `json:"host,omitempty"`
	ReturnURL     string               `json:"return_url,omitempty"`
	Mode          words.ConnectMode    `json:"mode" enum:"page,popup"`
	Scopes        []string             `json:"scopes,omitempty" nullable:"false" doc:"That are required"`
	Bound         bool                 `json:"bound,omitempty" doc:"Its grant is stored by the finish alone"`
	Outcome       words.ConnectOutcome `json:"outcome,omitempty" doc:"What came of it; absent: nothing yet"`
	MissingScopes []string             `json:"missing_scopes,omitempty" nullable:"false"`
	ResultID      string               `json:"result_id,omitempty" doc:"The connection that was stored"`
	Revocation    words.Revocation     `json:"revocation,omitempty" doc:"What became, at the provider, of the grant of a consent that was not finished; after failed and unsupported it may live on there"`
	CreatedAt     time.Time            `json:"created_at"`
	ExpiresAt     time.Time            `json:"expires_at"`
}

// FinishSession is the body of POST /v1/connect-sessions/{id}/finish.
type FinishSession struct {
	Code     string `json:"code" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$" doc:"connect_code, which the browser brought to the return URL"`
	Verifier string `json:"verifier" minLength:"43" maxLength:"128" pattern:"^[A-Za-z0-9._~-]*$" doc:"Of the challenge, from this user's own session"`
}
