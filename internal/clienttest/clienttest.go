// Package clienttest is the contract of [client.Backend] as a test suite, which every
// backend must pass beneath a client.
package clienttest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Secret begins every token of a fixture, so that tests can search for it.
const Secret = "planted-access-token"

// Fixture is one active connection at generation 1, with its backend. The functions
// change the row as other programs do.
type Fixture struct {
	Backend client.Backend        // of the tenant; it is a [client.Connector], like the others
	Other   client.Backend        // of another tenant
	Bare    func() client.Backend // of the tenant, without configured connect links
	ID      string

	App       string // an app with connect links
	ReturnURL string // an allowed return URL
	Revocable string // a connection at a provider with a revocation endpoint

	Renew      func(life time.Duration) // the next generation, with the token "<Secret>-<generation>"
	SetStatus  func(perennial.Status, perennial.Reason)
	Row        func() perennial.Connection
	Refreshes  func() int                                           // refreshes that reached the engine or workflow
	Revoked    func() int                                           // grants revoked at the provider
	Find       func(link perennial.Secret) perennial.ConnectSession // finds a session as its page does
	OutOfReach func() func()                                        // cuts the backend off until the returned function is called
}

// Run runs the suite. setup makes a fixture for each test.
func Run(t *testing.T, setup func(*testing.T) Fixture) {
	for name, test := range map[string]func(*testing.T, Fixture){
		"what is held":               testHeld,
		"another tenant":             testOtherTenant,
		"a refresh":                  testRefresh,
		"a generation ahead":         testAhead,
		"a reported refusal":         testRefused,
		"many callers, one refresh":  testMany,
		"statuses":                   testStatuses,
		"use and refusals are noted": testNotes,
		"out of reach":               testOutOfReach,
		"a connect link":             testConnect,
		"a reconnect link":           testReconnect,
		"links that cannot be":       testInvalidLinks,
		"a bound link":               testBound,
		"a disconnect":               testDisconnect,
		"a grant is revoked":         testRevoke,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, setup(t))
		})
	}
}

func over(t *testing.T, b client.Backend) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Backend: b})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func testHeld(t *testing.T, f Fixture) {
	f.Renew(time.Hour)
	row := f.Row()
	h, err := f.Backend.Load(t.Context(), f.ID)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(Secret, "-", row.Generation), h.Access.Reveal())
	assert.Equal(t, row.Generation, h.Generation)
	assert.Equal(t, row.AccountID, h.Account)
	assert.Equal(t, row.App, h.App)
	assert.Equal(t, row.Provider, h.Provider)
	assert.Equal(t, perennial.StatusActive, h.Status)
	assert.Equal(t, row.ExpiresAt, h.ExpiresAt)
	assert.Equal(t, row.NextRefreshAt, h.DueAt)
	assert.Equal(t, row.LastRefreshedAt, h.RefreshedAt)
	assert.False(t, h.Now.Before(row.LastRefreshedAt))
	assert.NotContains(t, fmt.Sprintf("%+v %#v", h, h), Secret)
}

func testOtherTenant(t *testing.T, f Fixture) {
	_, err := over(t, f.Other).Token(t.Context(), f.ID)
	require.ErrorAs(t, err, new(*client.ErrNotFound))
	_, missing := over(t, f.Backend).Token(t.Context(), "con_nothing")
	require.ErrorAs(t, missing, new(*client.ErrNotFound))
	assert.Error(t, f.Other.Refresh(t.Context(), f.ID, 1), "nor is it refreshed for another")
	assert.Zero(t, f.Refreshes())
}

func testRefresh(t *testing.T, f Fixture) {
	before := f.Row().Generation
	require.NoError(t, f.Backend.Refresh(t.Context(), f.ID, before))
	assert.Equal(t, before+1, f.Row().Generation)
	require.NoError(t, f.Backend.Refresh(t.Context(), f.ID, before), "it has moved: nothing is refreshed")
	assert.Equal(t, before+1, f.Row().Generation)
}

// testAhead: a generation above the row's refreshes nothing.
func testAhead(t *testing.T, f Fixture) {
	row := f.Row().Generation
	for _, n := range []int64{row + 1, row + 10_001, 1 << 62, math.MaxInt64} {
		var ahead *perennial.GenerationAheadError
		require.ErrorAs(t, f.Backend.Refresh(t.Context(), f.ID, n), &ahead, n)
		assert.Equal(t, row, ahead.Generation)
		assert.Equal(t, f.ID, ahead.Connection)
	}
	assert.Equal(t, row, f.Row().Generation)
	assert.Zero(t, f.Refreshes())
}

// testRefused: a report has the newest token replaced, once, and one of an older token
// gets the newer one. What the provider has not decided is no error of the backend's.
func testRefused(t *testing.T, f Fixture) {
	refuser := f.Backend.(client.Refuser)
	c := over(t, f.Backend)
	before := f.Row().Generation
	for range 3 {
		token, err := c.Refused(t.Context(), f.ID, before, client.TokenRefused)
		require.NoError(t, err)
		assert.Equal(t, before+1, token.Generation)
		require.NoError(t, refuser.Refused(t.Context(), f.ID, before, client.TokenRefused))
	}
	assert.Equal(t, 1, f.Refreshes())
	assert.NotZero(t, f.Row().LastUnauthorizedAt)
	token, err := over(t, f.Backend).Refused(t.Context(), f.ID, 0, client.RevokedAtProvider)
	require.NoError(t, err)
	assert.Equal(t, before+2, token.Generation, "of the newest")
	assert.Error(t, f.Other.(client.Refuser).Refused(t.Context(), f.ID, before+2, client.RevokedAtProvider), "not for another tenant")
	assert.Error(t, refuser.Refused(t.Context(), f.ID, before+2, "gossip"))
	var ahead *perennial.GenerationAheadError
	assert.ErrorAs(t, refuser.Refused(t.Context(), f.ID, before+3, client.RevokedAtProvider), &ahead)
	assert.Equal(t, 2, f.Refreshes())

	f.SetStatus(perennial.StatusReconnectRequired, perennial.ReasonOperator)
	_, err = c.Refused(t.Context(), f.ID, before+2, client.TokenRefused)
	assert.ErrorAs(t, err, new(*client.ErrReconnectRequired), "though its last token lives")
	f.SetStatus(perennial.StatusActive, perennial.ReasonNone)
	f.SetStatus(perennial.StatusPaused, perennial.ReasonNone)
	_, err = c.Refused(t.Context(), f.ID, before+2, client.RevokedAtProvider)
	assert.ErrorAs(t, err, new(*client.ErrPaused))
	f.SetStatus(perennial.StatusDisconnected, perennial.ReasonNone)
	_, err = c.Refused(t.Context(), f.ID, 0, client.RevokedAtProvider)
	assert.ErrorAs(t, err, new(*client.ErrNotFound))
	assert.Equal(t, 2, f.Refreshes())
}

func testMany(t *testing.T, f Fixture) {
	f.Renew(time.Millisecond)
	before := f.Row().Generation
	clients := []*client.Client{over(t, f.Backend), over(t, f.Backend)} // two processes
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			token, err := clients[i%2].Token(t.Context(), f.ID)
			assert.NoError(t, err)
			assert.Equal(t, before+1, token.Generation)
			assert.True(t, token.ExpiresAt.After(time.Now()))
		})
	}
	wg.Wait()
	assert.Equal(t, before+1, f.Row().Generation)
}

func testStatuses(t *testing.T, f Fixture) {
	f.SetStatus(perennial.StatusReconnectRequired, perennial.ReasonOperator)
	left, err := over(t, f.Backend).Token(t.Context(), f.ID)
	require.NoError(t, err, "what is left of an ended grant is served")
	assert.Equal(t, perennial.StatusReconnectRequired, left.Status)
	assert.Equal(t, perennial.ReasonOperator, left.Reason)
	h, err := f.Backend.Load(t.Context(), f.ID)
	require.NoError(t, err)
	assert.WithinDuration(t, h.Now, h.Since, time.Minute)

	f.SetStatus(perennial.StatusActive, perennial.ReasonNone)
	f.SetStatus(perennial.StatusPaused, perennial.ReasonNone)
	_, err = over(t, f.Backend).Token(t.Context(), f.ID)
	assert.ErrorAs(t, err, new(*client.ErrPaused))
	f.SetStatus(perennial.StatusDisconnected, perennial.ReasonNone)
	_, err = over(t, f.Backend).Token(t.Context(), f.ID)
	gone := new(client.ErrNotFound)
	require.ErrorAs(t, err, &gone)
	assert.True(t, gone.Disconnected)
}

func testNotes(t *testing.T, f Fixture) {
	require.Zero(t, f.Row().LastUsedAt)
	c := over(t, f.Backend)
	_, err := c.Token(t.Context(), f.ID)
	require.NoError(t, err)
	c.Close() // waits for background work
	assert.NotZero(t, f.Row().LastUsedAt)
	require.NoError(t, f.Backend.Note(t.Context(), f.ID, client.NoteUnauthorized))
	assert.NotZero(t, f.Row().LastUnauthorizedAt)
}

func testOutOfReach(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	f.Renew(time.Hour)
	before, err := c.Token(t.Context(), f.ID)
	require.NoError(t, err)
	back := f.OutOfReach()
	_, err = over(t, f.Backend).Token(t.Context(), f.ID)
	require.ErrorAs(t, err, new(*client.ErrUnavailable))
	assert.NotContains(t, err.Error(), Secret)
	after, err := c.Token(t.Context(), f.ID)
	require.NoError(t, err, "memory serves")
	assert.Equal(t, before, after)
	for name, err := range connectorErrors(t, c, f) {
		assert.ErrorAs(t, err, new(*client.ErrUnavailable), name)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Backend.Load(cancelled, f.ID)
	assert.Error(t, err)
	back()
}
