package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
)

// TestRowsBecomeTypes: every column of a row type arrives in the type that the other
// packages use.
func TestRowsBecomeTypes(t *testing.T) {
	t.Parallel()
	r := fill.Of[row]()
	r.Metadata = `{"a":"b"}`
	c := r.connection()
	assert.Empty(t, fill.Zeros(c))
	assert.Empty(t, fill.Zeros(c.Open))
	assert.Empty(t, fill.Zeros(c.IdleWarning))
	assert.Empty(t, fill.Zeros(c.GrantWarning))
}

// TestAttemptsKeepEverything: a ledger line survives writing and reading.
func TestAttemptsKeepEverything(t *testing.T) {
	t.Parallel()
	a := fill.Of[perennial.Attempt]()
	for _, d := range []*time.Duration{&a.RetryAfter, &a.Duration, &a.LifeLeft, &a.Lateness} {
		*d *= time.Duration(time.Millisecond) // the precision of a line
	}
	r := newAttemptRow(a)
	assert.Empty(t, fill.Zeros(r))
	assert.Len(t, attemptValues(r), strings.Count(attemptMarks, "?"))
	assert.Equal(t, a, r.attempt())
}

// columnOf has the column of each field of a token set.
var columnOf = map[string]string{"Generation": "generation", "NewGeneration": "generation", "AccessTokenSealed": "access_token_sealed", "RefreshTokenSealed": "refresh_token_sealed",
	"RefreshTokenDigest": "refresh_token_digest", "ClientIDDigest": "client_id_digest", "TokenType": "token_type", "Scopes": "scopes", "Metadata": "metadata",
	"ExpiresAt": "expires_at", "RefreshTokenExpiresAt": "refresh_token_expires_at", "GrantExpiresAt": "grant_expires_at", "NextRefreshAt": "next_refresh_at",
	"Status": "status", "Reason": "reason", "FailingCode": "failing_code", "AmbiguousSince": "ambiguous_since", "NextAttemptAt": "next_attempt_at"}

// changed returns the columns in which two writes differ.
func changed(a, b columns) (names []string) {
	for name := range b {
		if !assert.ObjectsAreEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}

// TestTokenSetsAreWritten: each field of a token set, changed alone, changes its column.
func TestTokenSetsAreWritten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	t.Run("of a consent", func(t *testing.T) {
		full := fill.Of[TokenWrite]()
		for _, name := range fill.Names[TokenWrite]() {
			one := full
			fill.Clear(&one, name)
			assert.Contains(t, changed(tokenColumns(one, now), tokenColumns(full, now)), columnOf[name], name)
		}
	})
	t.Run("of a refresh", func(t *testing.T) {
		// These name or guard the row, or are written elsewhere.
		beside := []string{"ID", "AttemptID", "Generation", "Digest", "Ledger", "Claimed"}
		full := fill.Of[SaveRequest]()
		c := perennial.Connection{Status: perennial.StatusActive}
		for _, name := range fill.Names[SaveRequest]() {
			if slices.Contains(beside, name) {
				continue
			}
			one := full
			fill.Clear(&one, name)
			assert.Contains(t, changed(saveColumns(c, one, now), saveColumns(c, full, now)), columnOf[name], name)
		}
	})
}
