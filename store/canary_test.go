package store

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestRankCanaries: which of two connections makes the next probe.
func TestRankCanaries(t *testing.T) {
	t.Parallel()
	at := noon
	base := perennial.Connection{ID: "a", Status: perennial.StatusActive, Generation: 1, RefreshTokenDigest: "d", NextRefreshAt: at, ExpiresAt: at.Add(time.Hour)}
	with := func(change func(c *perennial.Connection)) perennial.Connection {
		c := base
		change(&c)
		return c
	}
	failing := with(func(c *perennial.Connection) {
		c.ID, c.FailureCount, c.NextAttemptAt, c.BackoffUntil = "failing", 3, at.Add(time.Hour), at.Add(time.Hour)
	})
	lost := with(func(c *perennial.Connection) {
		c.ID, c.AmbiguousSince, c.AmbiguousDigest, c.NextRefreshAt = "lost", at.Add(-time.Minute), "d", at.Add(time.Minute)
	})
	unproven := with(func(c *perennial.Connection) { c.ID, c.UnprovenSince = "unproven", at.Add(-time.Hour) })
	last := with(func(c *perennial.Connection) { c.ID = "last" })
	later := with(func(c *perennial.Connection) { c.ID, c.NextRefreshAt = "later", at.Add(time.Minute) })
	asked := with(func(c *perennial.Connection) { c.ID, c.NextAttemptAt, c.FailureCount = "asked", at.Add(1), 1 })
	parked := with(func(c *perennial.Connection) { c.ID, c.NextAttemptAt, c.QueuedAt = "parked", at.Add(1), at })
	suspect := with(func(c *perennial.Connection) {
		c.ID, c.SuspectSince, c.SuspectDigest = "suspect", at.Add(-time.Hour), "d"
	})
	confirm := with(func(c *perennial.Connection) { c.ID, c.ConfirmAt = "confirm", at.Add(1) })
	open := with(func(c *perennial.Connection) {
		c.ID, c.Open = "open", perennial.OpenAttempt{ID: "x", Deadline: at.Add(time.Second)}
	})
	paused := with(func(c *perennial.Connection) { c.ID, c.Status = "paused", perennial.StatusPaused })
	aside := with(func(c *perennial.Connection) {
		c.ID, c.SetAsideGeneration, c.SetAsideUntil = "aside", 2, at.Add(time.Hour)
	})
	single, operator := CanaryRequest{Class: perennial.ReplaySingleUse}, CanaryRequest{Class: perennial.ReplaySingleUse, Operator: true}
	revokes, reusable := CanaryRequest{Class: perennial.ReplayReuseRevokes}, CanaryRequest{Class: perennial.ReplayReusable}
	for _, c := range []struct {
		name    string
		rows    []perennial.Connection
		well    string
		circuit circuitRow
		req     CanaryRequest
		want    []string
	}{
		{"its own backoff does not keep it", []perennial.Connection{failing}, "", circuitRow{}, single, []string{"failing"}},
		{"a wait for the app does not", []perennial.Connection{parked}, "", circuitRow{}, single, []string{"parked"}},
		{"what the provider asked for does", []perennial.Connection{asked}, "", circuitRow{}, operator, nil},
		{"so do a confirmation, an open attempt, a pause, a set aside", []perennial.Connection{confirm, open, paused, aside}, "", circuitRow{}, operator, nil},
		{"a set aside of a token that stays good does not", []perennial.Connection{aside}, "", circuitRow{}, reusable, []string{"aside"}},
		{"one in doubt first", []perennial.Connection{base, lost}, "", circuitRow{}, single, []string{"lost", "a"}},
		{"not if that may revoke it", []perennial.Connection{base, lost}, "", circuitRow{}, revokes, []string{"a"}},
		{"well before the trouble", []perennial.Connection{failing, base}, "", circuitRow{}, single, []string{"a", "failing"}},
		{"and so was this", []perennial.Connection{base, failing, last}, "failing", circuitRow{LastCanary: "last"}, single, []string{"a", "failing", "last"}},
		{"never worked", []perennial.Connection{unproven, failing}, "", circuitRow{}, single, []string{"failing", "unproven"}},
		{"the last canary, before one that was sick", []perennial.Connection{failing, last}, "", circuitRow{LastCanary: "last"}, single, []string{"last", "failing"}},
		{"but not each time", []perennial.Connection{last, failing}, "", circuitRow{LastCanary: "last", Probes: otherCanaries - 1}, single, []string{"failing", "last"}},
		{"the last canary alone", []perennial.Connection{last}, "", circuitRow{LastCanary: "last"}, single, []string{"last"}},
		{"refused once", []perennial.Connection{suspect, base}, "", circuitRow{}, single, []string{"a", "suspect"}},
		{"not due", []perennial.Connection{later}, "", circuitRow{}, single, nil},
		{"not due, on an operator's word", []perennial.Connection{later, base}, "", circuitRow{}, operator, []string{"a", "later"}},
		{"twice", []perennial.Connection{base, base}, "", circuitRow{}, single, []string{"a"}},
	} {
		var got []string
		for _, r := range rankCanaries(c.rows, map[string]bool{c.well: true}, c.circuit, c.req, at) {
			got = append(got, r.ID)
		}
		assert.Equal(t, c.want, got, c.name)
	}
}
