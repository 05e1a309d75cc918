package store

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// columns holds the names and values of one write.
type columns map[string]any

// row is a row of the table connections.
type row struct {
	ID                    string     `gorm:"column:id;primaryKey"`
	TenantID              string     `gorm:"column:tenant_id"`
	App                   string     `gorm:"column:app"`
	Provider              string     `gorm:"column:provider"`
	Host                  string     `gorm:"column:host"`
	AccountID             string     `gorm:"column:account_id"`
	Cadence               string     `gorm:"column:cadence"`
	Status                string     `gorm:"column:status"`
	Reason                string     `gorm:"column:reason"`
	Health                string     `gorm:"column:health"`
	FailingCode           string     `gorm:"column:failing_code"`
	FailingSince          *time.Time `gorm:"column:failing_since"`
	Generation            int64      `gorm:"column:generation"`
	AccessTokenSealed     []byte     `gorm:"column:access_token_sealed"`
	RefreshTokenSealed    []byte     `gorm:"column:refresh_token_sealed"`
	RefreshTokenDigest    string     `gorm:"column:refresh_token_digest"`
	ClientIDDigest        string     `gorm:"column:client_id_digest"`
	TokenType             string     `gorm:"column:token_type"`
	Scopes                string     `gorm:"column:scopes"`
	Metadata              string     `gorm:"column:metadata"`
	ExpiresAt             *time.Time `gorm:"column:expires_at"`
	RefreshTokenExpiresAt *time.Time `gorm:"column:refresh_token_expires_at"`
	GrantExpiresAt        *time.Time `gorm:"column:grant_expires_at"`
	NextRefreshAt         *time.Time `gorm:"column:next_refresh_at"`
	NextAttemptAt         *time.Time `gorm:"column:next_attempt_at"`
	LastRefreshedAt       *time.Time `gorm:"column:last_refreshed_at"`
	LastUsedAt            *time.Time `gorm:"column:last_used_at"`
	LastUnauthorizedAt    *time.Time `gorm:"column:last_unauthorized_at"`
	RefreshCount          int64      `gorm:"column:refresh_count"`
	FailureCount          int        `gorm:"column:failure_count"`
	AttemptID             string     `gorm:"column:attempt_id"`
	AttemptDigest         string     `gorm:"column:attempt_digest"`
	AttemptStartedAt      *time.Time `gorm:"column:attempt_started_at"`
	AttemptDeadline       *time.Time `gorm:"column:attempt_deadline"`
	AttemptSent           bool       `gorm:"column:attempt_sent"`
	AmbiguousSince        *time.Time `gorm:"column:ambiguous_since"`
	AmbiguousDigest       string     `gorm:"column:ambiguous_digest"`
	SuspectSince          *time.Time `gorm:"column:suspect_since"`
	SuspectDigest         string     `gorm:"column:suspect_digest"`
	ConfirmAt             *time.Time `gorm:"column:confirm_at"`
	AttemptTrigger        string     `gorm:"column:attempt_trigger"`
	GenerationFloor       int64      `gorm:"column:generation_floor"`
	QueuedAt              *time.Time `gorm:"column:queued_at"`
	IdleWarnedDays        int        `gorm:"column:idle_warned_days"`
	IdleWarnedFor         *time.Time `gorm:"column:idle_warned_for"`
	GrantWarnedDays       int        `gorm:"column:grant_warned_days"`
	GrantWarnedFor        *time.Time `gorm:"column:grant_warned_for"`
	CreatedAt             *time.Time `gorm:"column:created_at;autoCreateTime:false"`
	UpdatedAt             *time.Time `gorm:"column:updated_at;autoUpdateTime:false"`
}

// TableName implements gorm's Tabler.
func (row) TableName() string { return "connections" }

// fields has the index of the row's field for each column.
var fields = func() map[string]int {
	out := map[string]int{}
	t := reflect.TypeFor[row]()
	for i := range t.NumField() {
		for part := range strings.SplitSeq(t.Field(i).Tag.Get("gorm"), ";") {
			if name, ok := strings.CutPrefix(part, "column:"); ok {
				out[name] = i
			}
		}
	}
	return out
}()

func (r row) connection() perennial.Connection {
	c := perennial.Connection{
		ID: r.ID, TenantID: r.TenantID, App: r.App, Provider: r.Provider, Host: r.Host, AccountID: r.AccountID, Cadence: perennial.Cadence(r.Cadence),
		Status: perennial.Status(r.Status), Reason: perennial.Reason(r.Reason),
		Health: perennial.Health(r.Health), FailingCode: r.FailingCode, FailingSince: db.Time(r.FailingSince),
		Generation:        r.Generation,
		AccessTokenSealed: r.AccessTokenSealed, RefreshTokenSealed: r.RefreshTokenSealed,
		RefreshTokenDigest: r.RefreshTokenDigest, ClientIDDigest: r.ClientIDDigest,
		TokenType: r.TokenType, Scopes: perennial.ParseScopes(r.Scopes),
		ExpiresAt: db.Time(r.ExpiresAt), RefreshTokenExpiresAt: db.Time(r.RefreshTokenExpiresAt), GrantExpiresAt: db.Time(r.GrantExpiresAt),
		NextRefreshAt: db.Time(r.NextRefreshAt), NextAttemptAt: db.Time(r.NextAttemptAt),
		LastRefreshedAt: db.Time(r.LastRefreshedAt), LastUsedAt: db.Time(r.LastUsedAt), LastUnauthorizedAt: db.Time(r.LastUnauthorizedAt),
		RefreshCount: r.RefreshCount, FailureCount: r.FailureCount,
		AmbiguousSince: db.Time(r.AmbiguousSince), AmbiguousDigest: r.AmbiguousDigest,
		SuspectSince: db.Time(r.SuspectSince), SuspectDigest: r.SuspectDigest, ConfirmAt: db.Time(r.ConfirmAt),
		GenerationFloor: r.GenerationFloor, QueuedAt: db.Time(r.QueuedAt),
		IdleWarning: perennial.Warning{Days: r.IdleWarnedDays, For: db.Time(r.IdleWarnedFor)}, GrantWarning: perennial.Warning{Days: r.GrantWarnedDays, For: db.Time(r.GrantWarnedFor)},
		CreatedAt: db.Time(r.CreatedAt), UpdatedAt: db.Time(r.UpdatedAt),
	}
	if r.AttemptID != "" {
		c.Open = perennial.OpenAttempt{ID: r.AttemptID, Digest: r.AttemptDigest, StartedAt: db.Time(r.AttemptStartedAt), Deadline: db.Time(r.AttemptDeadline), Sent: r.AttemptSent, Trigger: perennial.Trigger(r.AttemptTrigger)}
	}
	// A value that another program wrote badly must not cost the connection.
	if err := json.Unmarshal([]byte(r.Metadata), &c.Metadata); err != nil {
		c.Metadata = nil
	}
	return c
}

func metadataText(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	out, err := json.Marshal(m)
	if err != nil { // strings always marshal
		return "{}"
	}
	return string(out)
}

func scopesText(s []string) string { return strings.Join(s, " ") }

// noAttempt adds the columns that close the open attempt.
func (set columns) noAttempt() columns {
	return set.with(columns{"attempt_id": "", "attempt_digest": "", "attempt_started_at": nil, "attempt_deadline": nil, "attempt_sent": false, "attempt_trigger": ""})
}

// noDoubt adds the columns that forget everything about the old refresh token.
func (set columns) noDoubt() columns {
	return set.with(columns{"ambiguous_since": nil, "ambiguous_digest": "", "suspect_since": nil, "suspect_digest": "", "confirm_at": nil,
		"next_attempt_at": nil, "queued_at": nil, "failure_count": 0, "health": string(perennial.HealthHealthy), "failing_code": "", "failing_since": nil})
}

func (set columns) with(more columns) columns {
	for k, v := range more {
		set[k] = v
	}
	return set
}
