package workflows

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/temporal"
)

// ConnectionWorkflow is the registered name of the connection's workflow.
const ConnectionWorkflow = "ConnectionWorkflow"

// The signals. Each means only: read the row again. The sender has changed the row
// before it sends one.
const (
	SignalReconnected = "reconnected"
	SignalDisconnect  = "disconnect"
	SignalPause       = "pause"
	SignalResume      = "resume"
	SignalNudge       = "nudge"
)

// SignalUnsaved carries a sealed token set that a refresh could not store, as a
// [store.SaveRequest]. The workflow stores it before it does anything else. It drops
// and counts a message that is not a token set of its connection.
const SignalUnsaved = "unsaved"

// SignalContinueAsNew asks the workflow to continue as new when it is next idle. It is for
// operators, and changes nothing else.
const SignalContinueAsNew = "continue_as_new"

// Signals lists the signals that make the workflow read its row again.
var Signals = []string{SignalReconnected, SignalDisconnect, SignalPause, SignalResume, SignalNudge}

// UpdateRefreshNow asks for a fresh token. Concurrent callers share one refresh.
const UpdateRefreshNow = "refresh_now"

// QueryStatus returns a [StatusReply].
const QueryStatus = "status"

// RefreshNow is the argument of [UpdateRefreshNow].
type RefreshNow struct {
	// IfGeneration, if above zero, asks for a refresh only while this is still the
	// generation: a caller whose token was refused passes that token's generation. A
	// number above the row's is an error of type [perennial.CodeGenerationAhead]; its
	// details hold the row's generation.
	IfGeneration int64 `json:"if_generation,omitempty"`
	// Why, if not empty, is what a product reported; see [perennial.RefusalCause]. It only
	// names the refresh, which decides nothing on hearsay.
	Why perennial.RefusalCause `json:"why,omitempty"`
}

// NewerThan asks for a newer token set than c has.
func NewerThan(c perennial.Connection) RefreshNow { return RefreshNow{IfGeneration: c.Generation} }

// RefreshNowReply is the result of [UpdateRefreshNow].
type RefreshNowReply struct {
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	Generation int64             `json:"generation"`
	ExpiresAt  time.Time         `json:"expires_at,omitzero"`
	// RetryAt is the time before which there is no attempt, or none on request if Code is
	// too_soon; zero if there is no wait.
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// StatusReply is the result of [QueryStatus].
type StatusReply struct {
	Status      perennial.Status `json:"status"`
	Reason      perennial.Reason `json:"reason,omitempty"`
	Health      perennial.Health `json:"health,omitempty"`
	Words       string           `json:"words"`
	Generation  int64            `json:"generation"`
	NextLook    time.Time        `json:"next_look,omitzero"` // by the workflow's clock
	Refreshes   int64            `json:"refreshes"`
	Recent      []RecentRefresh  `json:"recent,omitempty"`
	FailingCode string           `json:"failing_code,omitempty"`
	SetAside    int              `json:"set_aside,omitempty"` // token sets that could not be stored; each is tried again
	Dropped     int64            `json:"dropped,omitempty"`   // messages that were not token sets of the connection
	Missing     bool             `json:"missing,omitempty"`   // the row is not in the database; the status is "missing"
}

// The search attributes. All are keywords, and they change only with the status.
var (
	AttributeStatus   = temporal.NewSearchAttributeKeyKeyword(activities.AttributeStatus)
	AttributeProvider = temporal.NewSearchAttributeKeyKeyword(activities.AttributeProvider)
	AttributeApp      = temporal.NewSearchAttributeKeyKeyword(activities.AttributeApp)
	AttributeTenant   = temporal.NewSearchAttributeKeyKeyword(activities.AttributeTenant)
)

// SearchAttributes returns the search attributes for starting a connection's workflow.
func SearchAttributes(c perennial.Connection) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(
		AttributeStatus.ValueSet(string(c.Status)),
		AttributeProvider.ValueSet(c.Provider),
		AttributeApp.ValueSet(c.App),
		AttributeTenant.ValueSet(c.TenantID),
	)
}

// Memo returns the facts about a connection that never change, for people in the
// Temporal UI.
func Memo(c perennial.Connection) map[string]any {
	return map[string]any{"connection": c.ID, "account": c.AccountID, "provider": c.Provider}
}
