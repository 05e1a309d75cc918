package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// output runs a command and returns its standard output and standard error separately.
func output(environ []string, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	err := Run(context.Background(), args, environ, strings.NewReader(""), &stdout, &stderr)
	if err != nil {
		fmt.Fprintln(&stderr, err)
	}
	return program.ExitCode(err), stdout.String(), stderr.String()
}

// TestFilters: the command line refuses a value that no connection can have, accepts a
// possible one that none has, and each filter finds the matching connections.
func TestFilters(t *testing.T) {
	t.Parallel()
	file, environ, db := prepared(t)
	insert(t, db, "con_2", "t2", "left") // of an app that is no longer configured
	insert(t, db, "con_3", "t1", "app")
	_, err := db.SetStatus(t.Context(), perennial.CommandLineAccess(), "con_3", perennial.Statuses, 1, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	require.NoError(t, err)
	for _, tc := range []struct {
		args string
		code int
		ids  string
		says string
	}{
		{"", 0, "con_1 con_2 con_3", ""},
		{"--status active", 0, "con_1 con_2", ""},
		{"--status paused", 0, "", ""},
		{"--health healthy", 0, "con_1 con_2", ""},
		{"--health failing", 0, "", ""},
		{"--health healthy --status active", 0, "con_1 con_2", ""},
		{"--account", 2, "", "--help"},
		{"--app left", 0, "con_2", ""},
		{"--app left --status paused", 0, "", ""},
		{"--provider hubspot", 0, "con_1 con_2 con_3", ""},
		{"--provider xero", 0, "", ""},
		{"--tenant t1", 0, "con_1 con_3", ""},
		{"--tenant nobody", 0, "", ""},
		{"--after con_2", 0, "con_3", ""},
		{"--status foo", 2, "", "there are: active, reconnect_required, paused, disconnected"},
		{"--status Active", 2, "", "there are: active"},
		{"--status active,paused", 2, "", "there are: active"},
		{"--health well", 2, "", "there are: healthy, failing"},
		{"--health healthy --status paused", 2, "", "active connections"},
		{"--app ap", 2, "", "there are: app"},
		{"--provider hubspt", 2, "", "hubspot"},
		{"--limit 0", 2, "", "from 1 to 1000"},
		{"--limit 1001", 2, "", "from 1 to 1000"},
		{"--status=", 2, "", "--status is empty"},
		{"--tenant=", 2, "", "--tenant is empty"},
	} {
		code, out, errOut := output(environ, append(append([]string{"list", "--json"}, strings.Fields(tc.args)...), "--config", file)...)
		assert.Equal(t, tc.code, code, "%s: %s", tc.args, errOut)
		assert.Contains(t, errOut, tc.says, tc.args)
		if code != 0 {
			assert.Empty(t, out, tc.args)
			continue
		}
		var list []struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(out), &list), out)
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		assert.Equal(t, tc.ids, strings.Join(ids, " "), tc.args)
	}
	_, out, _ := output(environ, "list", "--account", "of con_3", "--config", file)
	assert.Contains(t, out, "con_3")
	assert.NotContains(t, out, "con_1")
	_, out, _ = output(environ, "list", "--status", "paused", "--config", file)
	assert.Equal(t, "No connection matches.\n", out)
	for _, args := range [][]string{{"apikey", "list", "--tenant="}, {"webhook", "list", "--tenant="}, {"events", "--limit", "0"}, {"webhook", "deliveries", "--limit", "0"}, {"show", "con_1", "--limit", "-1"},
		{"webhook", "add", "https://8.8.8.8/", "--events", "connection.conected"}, {"cadence", "con_1", "sometimes"}} {
		code, _, errOut := output(append(environ, "TEMPORAL_ADDRESS=127.0.0.1:1"), append(args, "--config", file)...)
		if args[0] == "cadence" {
			assert.Contains(t, []int{program.ExitUsage, program.ExitUnavailable}, code, errOut)
			continue
		}
		assert.Equal(t, program.ExitUsage, code, "%v: %s", args, errOut)
	}
	code, _, errOut := output(environ, "events", "con_none", "--config", file)
	assert.Equal(t, program.ExitNotFound, code, errOut)
}

// TestCutListsSaySo: a list that was cut says so on standard error; a complete one does
// not.
func TestCutListsSaySo(t *testing.T) {
	t.Parallel()
	file, environ, db := prepared(t)
	for i := 2; i <= 5; i++ {
		insert(t, db, fmt.Sprintf("con_%d", i), "t1", "app")
	}
	for _, tc := range []struct{ args, says string }{
		{"list --limit 2", "2 of 5 shown; the others: --after con_2, or a --limit up to 1000.\n"},
		{"list --limit 2 --json", "2 of 5 shown; the others: --after con_2, or a --limit up to 1000.\n"},
		{"list --limit 2 --after con_2", "2 of 3 shown; the others: --after con_4, or a --limit up to 1000.\n"},
		{"list --limit 2 --after con_3", ""},
		{"list --limit 5", ""},
		{"list", ""},
		{"list --limit 2 --status paused", ""},
		{"events --limit 2", "The last 2 events are shown; there are others: --limit shows up to 1000.\n"},
		{"events --limit 5", ""},
		{"events con_2 --limit 1", ""},
		{"show con_1 --limit 1 --json", ""},
	} {
		code, out, errOut := output(environ, append(strings.Fields(tc.args), "--config", file)...)
		require.Zero(t, code, errOut)
		assert.Equal(t, tc.says, errOut, tc.args)
		if strings.Contains(tc.args, "--json") {
			assert.True(t, json.Valid([]byte(out)), out)
		}
	}
	var shown bytes.Buffer
	s := &shell{errOut: &shown}
	assert.Equal(t, []int{3, 2}, cut(s, []int{3, 2, 1}, 2, "deliveries"))
	assert.Contains(t, shown.String(), "The last 2 deliveries are shown")
}

// TestShowTellsOneStory: a reconnect_required, a paused and a disconnected connection
// have no health and no next refresh.
func TestShowTellsOneStory(t *testing.T) {
	t.Parallel()
	file, environ, db := prepared(t)
	c, _, err := db.Get(t.Context(), perennial.CommandLineAccess(), "con_1")
	require.NoError(t, err)
	now := c.CreatedAt
	_, err = db.ReplaceTokens(t.Context(), perennial.CommandLineAccess(), "con_1", perennial.StatusActive, 1, store.TokenWrite{Generation: 2, SealedTokens: store.SealedTokens{
		AccessTokenSealed:  []byte("a"),
		RefreshTokenSealed: []byte("r"),
		RefreshTokenDigest: "d",
		ExpiresAt:          now.AddDate(1, 0, 0),
		NextRefreshAt:      now.AddDate(0, 6, 0),
	},
		ClientIDDigest: "c", Status: perennial.StatusActive})
	require.NoError(t, err)
	show := func(more ...string) string {
		code, out, errOut := output(environ, append(append([]string{"show", "con_1"}, more...), "--config", file)...)
		require.Zero(t, code, errOut)
		return out
	}
	active := show()
	assert.Regexp(t, `health +healthy`, active)
	assert.Contains(t, active, "next refresh")
	assert.NotContains(t, active, "what happens next")
	for _, tc := range []struct {
		status perennial.Status
		says   string
	}{
		{perennial.StatusPaused, "no refresh until it is resumed"},
		{perennial.StatusReconnectRequired, "nothing until the customer reconnects"},
		{perennial.StatusDisconnected, "connecting the account again revives it"},
	} {
		_, err := db.SetStatus(t.Context(), perennial.CommandLineAccess(), "con_1", perennial.Statuses, 2, tc.status, "")
		require.NoError(t, err)
		text, asJSON := show(), show("--json")
		assert.Contains(t, text, tc.says)
		for _, stale := range []string{"healthy", "next refresh", "next_refresh_at"} {
			assert.NotContains(t, text, stale, tc.status)
			assert.NotContains(t, asJSON, stale, tc.status)
		}
		_, listed, _ := output(environ, "list", "--json", "--config", file)
		assert.NotContains(t, listed, "healthy", tc.status)
	}
	assert.NotContains(t, show(), "access token expires", "a disconnected one has none")
}
