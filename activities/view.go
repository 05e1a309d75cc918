package activities

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
)

// View is what a workflow knows of its connection's row. Times are the database's.
// Durations were measured from the database's now, so that no worker's clock matters.
type View struct {
	// Gone: the row is missing, and the connection was ended; Tombstone says how. Older
	// programs set Gone for every missing row.
	Gone      bool            `json:"gone,omitempty"`
	Tombstone store.Tombstone `json:"tombstone,omitempty"`
	// RowMissing: the row is not there, and nothing says why.
	RowMissing bool `json:"row_missing,omitempty"`

	Status      perennial.Status `json:"status,omitempty"`
	Reason      perennial.Reason `json:"reason,omitempty"`
	Health      perennial.Health `json:"health,omitempty"`
	FailingCode string           `json:"failing_code,omitempty"`
	Words       string           `json:"words,omitempty"` // for the customer

	Tenant       string `json:"tenant,omitempty"`
	App          string `json:"app,omitempty"`
	Provider     string `json:"provider,omitempty"`
	Generation   int64  `json:"generation,omitempty"`
	RefreshCount int64  `json:"refresh_count,omitempty"`
	FailureCount int    `json:"failure_count,omitempty"`

	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Trigger   perennial.Trigger `json:"trigger,omitempty"` // what the next wake is for
	Wait      time.Duration     `json:"wait,omitempty"`    // until the next wake
	// RetryAt is the time before which no attempt is allowed; zero if there is no wait.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Pooled: pacers refresh the connection; its workflow wakes only for the summary.
	Pooled  bool                 `json:"paced,omitempty"`
	Summary *store.LedgerSummary `json:"digest,omitempty"`
	// SlotGranted: the connection waited at the gate, and its wait is over. Only the
	// local Load sets it, in the program that runs the workflow task, so what follows
	// from it needs no version marker. As with a marker, a program that does not know
	// this field cannot replay a run that has it.
	SlotGranted bool `json:"turn,omitempty"`
	// Upsert has the search attributes to set now, by name: see [Shown].
	Upsert map[string]string `json:"upsert,omitempty"`
	// Missing has the search attributes that the run must not hand on: its namespace no
	// longer has them.
	Missing []string `json:"missing,omitempty"`
	// MoveTo is the task queue on which the next run should go on; empty: the same one.
	// Only the local Load sets it, like SlotGranted.
	MoveTo string `json:"move_to,omitempty"`
	// Revision is that of a run which begins now: a first run's own, or the next one's. Only
	// a local activity sets it.
	Revision int `json:"revision,omitempty"`
	// Young: the token is younger than a minute, or than a quarter of its life.
	Young bool `json:"young,omitempty"`
}

func (a *Activities) view(c perennial.Connection, now time.Time) View {
	v := View{
		Status:       c.Status,
		Reason:       c.Reason,
		Health:       c.Health,
		FailingCode:  c.FailingCode,
		Tenant:       c.TenantID,
		App:          c.App,
		Provider:     c.Provider,
		Generation:   c.Generation,
		RefreshCount: c.RefreshCount,
		FailureCount: c.FailureCount,
		ExpiresAt:    c.ExpiresAt,
		Young:        young(c, now),
	}
	title := c.Provider
	app, err := a.Apps.App(c.App)
	if err == nil {
		title = app.Provider.Title
	}
	v.Words = c.Words(title).String()
	at, trigger := timing.Wake(c, now)
	if app.Pacers > 0 && refresh.OwnedByPacer(c, now) {
		v.Pooled, at, trigger = true, refresh.SummaryAt(c.ID, now), ""
	}
	v.Trigger, v.Wait = trigger, max(at.Sub(now), 0)
	for _, t := range []time.Time{c.NextAttemptAt, c.ConfirmAt} {
		if t.After(now) && t.After(v.RetryAt) {
			v.RetryAt = t
		}
	}
	return v
}

// young reports whether the token is too young to be refreshed on a mere request.
func young(c perennial.Connection, now time.Time) bool {
	if c.LastRefreshedAt.IsZero() || !c.ExpiresAt.After(now) {
		return false
	}
	life := c.ExpiresAt.Sub(c.LastRefreshedAt)
	return now.Sub(c.LastRefreshedAt) < min(time.Minute, life/4)
}
