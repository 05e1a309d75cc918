package store

import (
	"fmt"
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
	longAgo := func(id string, wasWell bool, minutes time.Duration) failureRow {
		return failureRow{ConnectionID: id, WasWell: wasWell, FailedAt: ptr(at.Add(-minutes * time.Minute))}
	}
	var many []perennial.Connection
	for i := range fewCanaries + 1 {
		many = append(many, with(func(c *perennial.Connection) { c.ID = fmt.Sprintf("many %02d", i) }))
	}
	single, operator := CanaryRequest{Class: perennial.ReplaySingleUse}, CanaryRequest{Class: perennial.ReplaySingleUse, Operator: true}
	revokes, reusable := CanaryRequest{Class: perennial.ReplayReuseRevokes}, CanaryRequest{Class: perennial.ReplayReusable}
	for _, c := range []struct {
		name    string
		rows    []perennial.Connection
		failed  []failureRow
		circuit circuitRow
		req     CanaryRequest
		want    []string
	}{
		{"its own backoff does not keep it", []perennial.Connection{failing}, nil, circuitRow{}, single, []string{"failing"}},
		{"a wait for the app does not", []perennial.Connection{parked}, nil, circuitRow{}, single, []string{"parked"}},
		{"what the provider asked for does", []perennial.Connection{asked}, nil, circuitRow{}, operator, nil},
		{"so do a confirmation, an open attempt, a pause, a set aside", []perennial.Connection{confirm, open, paused, aside}, nil, circuitRow{}, operator, nil},
		{"a set aside of a token that stays good does not", []perennial.Connection{aside}, nil, circuitRow{}, reusable, []string{"aside"}},
		{"one in doubt first", []perennial.Connection{base, lost}, nil, circuitRow{}, single, []string{"lost", "a"}},
		{"not if that may revoke it", []perennial.Connection{base, lost}, nil, circuitRow{}, revokes, []string{"a"}},
		{"well before the trouble", []perennial.Connection{failing, base}, nil, circuitRow{}, single, []string{"a", "failing"}},
		{"and so was this", []perennial.Connection{base, failing, last}, []failureRow{longAgo("failing", true, 5)}, circuitRow{LastCanary: "last"}, single, []string{"a", "failing", "last"}},
		{"never worked", []perennial.Connection{unproven, failing}, nil, circuitRow{}, single, []string{"failing", "unproven"}},
		{"the last canary, before one that was sick", []perennial.Connection{failing, last}, nil, circuitRow{LastCanary: "last"}, single, []string{"last", "failing"}},
		{"but not each time", []perennial.Connection{last, failing}, nil, circuitRow{LastCanary: "last", Probes: 1}, single, []string{"failing", "last"}},
		{"the longest ago", []perennial.Connection{base, failing, lost}, []failureRow{longAgo("a", true, 1), longAgo("failing", true, 3), longAgo("lost", true, 2)}, circuitRow{Probes: 1}, single, []string{"failing", "lost", "a"}},
		{"and among equals", []perennial.Connection{base, failing}, []failureRow{longAgo("a", true, 1), longAgo("failing", true, 3)}, circuitRow{}, single, []string{"failing", "a"}},
		{"one that did not fail yet", []perennial.Connection{unproven, base}, []failureRow{longAgo("a", true, 1)}, circuitRow{Probes: 1}, single, []string{"unproven", "a"}},
		{"the last canary alone", []perennial.Connection{last}, nil, circuitRow{LastCanary: "last"}, single, []string{"last"}},
		{"refused once", []perennial.Connection{suspect, base}, nil, circuitRow{}, single, []string{"a", "suspect"}},
		{"not due", []perennial.Connection{later}, nil, circuitRow{}, single, nil},
		{"not due, on an operator's word", []perennial.Connection{later, base}, nil, circuitRow{}, operator, []string{"a", "later"}},
		{"twice", []perennial.Connection{base, base}, nil, circuitRow{}, single, []string{"a"}},
	} {
		var got []string
		failures := map[string]failureRow{}
		for _, f := range c.failed {
			failures[f.ConnectionID] = f
		}
		for _, r := range rankCanaries(c.rows, failures, c.circuit, c.req, at) {
			got = append(got, r.ID)
		}
		assert.Equal(t, c.want, got, c.name)
	}
	failures := map[string]failureRow{}
	for i, c := range many[1:] {
		failures[c.ID] = longAgo(c.ID, true, time.Duration(i+1))
	}
	many[5].AmbiguousSince, many[5].AmbiguousDigest = at, "d"
	for probes, want := range map[int]string{1: "many 05", othersTurnOfMany - 1: "many 00"} {
		assert.Equal(t, want, rankCanaries(many, failures, circuitRow{Probes: probes}, single, at)[0].ID, "of many, after %d probes", probes)
	}
}
