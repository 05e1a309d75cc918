package perennial

import (
	"strings"
	"time"
)

// ConnectMode is how a connect page is shown.
type ConnectMode string

// The modes. A page sends the customer back to the product; a popup reports to the
// window that opened it, and closes.
const (
	ConnectPage  ConnectMode = "page"
	ConnectPopup ConnectMode = "popup"
)

// ConnectOutcome is the outcome of the last consent of a connect session; empty while
// none has ended.
type ConnectOutcome string

// The outcomes. After every outcome but connected, the link works again until it
// expires. After unfinished, the session goes on by itself.
const (
	ConnectConnected       ConnectOutcome = "connected"
	ConnectDenied          ConnectOutcome = "access_denied"    // RFC 6749 section 4.1.2.1
	ConnectProviderDown    ConnectOutcome = "provider_down"    // the provider said so, or did not answer
	ConnectMisconfigured   ConnectOutcome = "misconfigured"    // our registration is wrong, never the user
	ConnectCodeRefused     ConnectOutcome = "code_refused"     // the code expired, or was used already
	ConnectMixedUp         ConnectOutcome = "mixed_up"         // another issuer answered (RFC 9207)
	ConnectAccountUnknown  ConnectOutcome = "account_unknown"  // the provider does not say which account the grant is for
	ConnectAccountMismatch ConnectOutcome = "account_mismatch" // a reconnect with another account
	ConnectScopesMissing   ConnectOutcome = "scopes_missing"
	ConnectNoRefreshToken  ConnectOutcome = "no_refresh_token"
	ConnectGone            ConnectOutcome = "connection_gone" // the connection to reconnect no longer exists
	ConnectUnfinished      ConnectOutcome = "unfinished"      // the grant is saved, sealed, and will be stored as soon as possible
)

// ConnectOutcomes lists every outcome.
var ConnectOutcomes = []ConnectOutcome{ConnectConnected, ConnectDenied, ConnectProviderDown, ConnectMisconfigured, ConnectCodeRefused, ConnectMixedUp,
	ConnectAccountUnknown, ConnectAccountMismatch, ConnectScopesMissing, ConnectNoRefreshToken, ConnectGone, ConnectUnfinished}

// ConnectSession is one link by which a customer connects, or reconnects, one account.
// Of link, state and browser it has only digests. All times are the database's clock,
// in UTC.
type ConnectSession struct {
	ID           string      `json:"id"`
	TenantID     string      `json:"tenant_id"`
	TenantTitle  string      `json:"tenant_title,omitempty"` // the tenant's name on the page
	App          string      `json:"app"`
	ConnectionID string      `json:"connection_id,omitempty"` // the connection to reconnect; empty: a connect
	Host         string      `json:"host,omitempty"`          // the account's host, if each has its own
	ReturnURL    string      `json:"return_url,omitempty"`
	Mode         ConnectMode `json:"mode"`
	Scopes       []string    `json:"scopes,omitempty"` // required

	LinkDigest     string `json:"-"`
	Starts         int64  `json:"-"` // authorization requests so far
	StateDigest    string `json:"-"` // of the newest request
	BrowserDigest  string `json:"-"` // of the browser that sent it
	VerifierSealed []byte `json:"-"` // code_verifier (RFC 7636)

	AnsweredAt  time.Time `json:"-"` // when the newest state was used
	ReplySealed []byte    `json:"-"` // the token reply, until its grant is stored
	ReplyAt     time.Time `json:"-"` // when the reply was requested
	Tries       int       `json:"-"` // tries to store the grant

	Outcome  ConnectOutcome `json:"outcome,omitempty"`
	Missing  []string       `json:"missing_scopes,omitempty"`
	ResultID string         `json:"result_id,omitempty"` // the connection that was stored

	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Done reports whether the session's grant is stored. Its link is then used up.
func (s ConnectSession) Done() bool { return s.Outcome == ConnectConnected }

// Open reports whether the link still works. now is the database's clock.
func (s ConnectSession) Open(now time.Time) bool { return !s.Done() && now.Before(s.ExpiresAt) }

// connectTexts has the texts for the customer, by outcome; {p} is the provider's title.
var connectTexts = map[ConnectOutcome]StatusText{
	ConnectConnected:       {"{p} is connected", "You can close this page.", ""},
	ConnectDenied:          {"{p} was not connected", "Access was not allowed in {p}, so nothing was changed.", "Try again and choose to allow access."},
	ConnectProviderDown:    {"{p} does not answer", "{p} has a problem at the moment. Nothing was changed.", "Try again in a few minutes."},
	ConnectMisconfigured:   {"{p} could not be connected", "{p} does not accept our request. This is not your doing.", "Contact support; trying again does not help."},
	ConnectCodeRefused:     {"That took too long", "{p} does not accept this answer any more. Nothing was changed.", "Try again."},
	ConnectMixedUp:         {"{p} was not connected", "The answer did not come from {p}. For your safety nothing was changed.", "Try again from the beginning."},
	ConnectAccountUnknown:  {"{p} could not be connected", "{p} did not say which account allowed access. Nothing was changed.", "Try again. If it happens again, contact support."},
	ConnectAccountMismatch: {"That is another account", "You allowed access to another {p} account than the one that is connected here. Nothing was changed.", "Try again and sign in to {p} with the right account."},
	ConnectScopesMissing:   {"Permissions are missing", "{p} was not connected, because it was not given every permission that is needed:", "Try again and leave every permission selected."},
	ConnectNoRefreshToken:  {"{p} could not be connected", "{p} gave access for a short time only. Nothing was changed.", "Try again. If it happens again, contact support."},
	ConnectGone:            {"There is nothing to reconnect", "This connection to {p} was removed.", "Start again from where you came from."},
	ConnectUnfinished:      {"Almost done", "Access to {p} was allowed and is being stored.", "Wait a moment, then look again. You need not allow access a second time."},
}

// DescribeConnect turns an outcome into text for the customer. title is the provider's
// name as customers know it ("HubSpot").
func DescribeConnect(o ConnectOutcome, title string) StatusText {
	w, ok := connectTexts[o]
	if !ok {
		w = StatusText{"{p} was not connected", "Something went wrong on our side.", "Try again."}
	}
	fill := strings.NewReplacer("{p}", title)
	return StatusText{Label: fill.Replace(w.Label), Detail: fill.Replace(w.Detail), Action: fill.Replace(w.Action)}
}
