package workflows

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/temporal"
)

// ConnectionWorkflow is the registered name of the connection's workflow.
const ConnectionWorkflow = "ConnectionWorkflow"

// The signals. Each says one thing only: read the row again. The sender has
// changed the row before.
const (
	SignalReconnected = "reconnected"
	SignalDisconnect  = "disconnect"
	SignalPause       = "pause"
	SignalResume      = "resume"
	SignalNudge       = "nudge"
)

// SignalUnsaved carries a sealed token set that a refresh could not store, a
// [store.SaveRequest]. It is stored before anything else is done. What is no token set
// of the connection is dropped and counted.
const SignalUnsaved = "unsaved"

// Signals lists every signal that says: read the row again.
var Signals = []string{SignalReconnected, SignalDisconnect, SignalPause, SignalResume, SignalNudge}

// UpdateRefreshNow asks for a fresh token; many callers share one refresh.
const UpdateRefreshNow = "refresh_now"

// QueryStatus returns a [StatusReply].
const QueryStatus = "status"

// RefreshNow is the argument of [UpdateRefreshNow].
type RefreshNow struct {
	// IfGeneration, when above zero, asks for a refresh only if this is still
	// the generation: a caller whose token was refused passes its own. One above
	// the row's is an error of type [perennial.CodeGenerationAhead], whose details are
	// the row's generation.
	IfGeneration int64 `json:"if_generation,omitempty"`
}

// RefreshNowReply is its answer.
type RefreshNowReply struct {
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	Generation int64             `json:"generation"`
	ExpiresAt  time.Time         `json:"expires_at,omitzero"`
	RetryAt    time.Time         `json:"retry_at,omitzero"` // set while a wait is in force
}

// StatusReply is the answer of [QueryStatus].
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
	SetAside    int              `json:"set_aside,omitempty"` // token sets that could not be stored and are tried again
	Dropped     int64            `json:"dropped,omitempty"`   // messages that were no token sets of the connection
}

// The search attributes; all are keywords. They change only with the status.
var (
	AttributeStatus   = temporal.NewSearchAttributeKeyKeyword("PerennialStatus")
	AttributeProvider = temporal.NewSearchAttributeKeyKeyword("PerennialProvider")
	AttributeApp      = temporal.NewSearchAttributeKeyKeyword("PerennialApp")
	AttributeTenant   = temporal.NewSearchAttributeKeyKeyword("PerennialTenant")
)

// SearchAttributes are a connection's, for starting its workflow.
func SearchAttributes(c perennial.Connection) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(
		AttributeStatus.ValueSet(string(c.Status)),
		AttributeProvider.ValueSet(c.Provider),
		AttributeApp.ValueSet(c.App),
		AttributeTenant.ValueSet(c.TenantID),
	)
}

// Memo is what never changes about a connection, for people.
func Memo(c perennial.Connection) map[string]any {
	return map[string]any{"connection": c.ID, "account": c.AccountID, "provider": c.Provider}
}
