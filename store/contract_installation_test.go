package store_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testTombstones: a disconnect leaves a tombstone, and a connect of the same account
// removes it. Erase takes only rows whose grant has ended. Tombstones stay for long.
func testTombstones(t *testing.T, b *bundle) {
	c := b.connect(t)
	absence := func(missing bool) store.Tombstone {
		a, is, err := b.Absence(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, missing, is)
		return a.Tombstone
	}
	assert.Empty(t, absence(false))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.Erase(t.Context(), c.ID)))
	gone, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	assert.Equal(t, store.TombstoneDisconnected, absence(false))
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, perennial.StatusDisconnected, gone.Generation, tokens(2, "2"))
	require.NoError(t, err)
	assert.Empty(t, absence(false), "it lives again")

	here, err := b.Bind(t.Context(), store.Binding{NamespaceID: "n1", TaskQueue: "q", Namespace: "default"}, false)
	require.NoError(t, err)
	end := func(databaseID string, number int64) perennial.Code {
		if err := b.EndMissing(t.Context(), c.ID, databaseID, number); err != nil {
			return perennial.CodeOf(err)
		}
		return ""
	}
	assert.Equal(t, perennial.CodeConflict, end(here.DatabaseID, here.Number), "its row is there")
	b.Exec(t, "DELETE FROM connections WHERE id = '"+c.ID+"'")
	assert.Empty(t, absence(true), "deleted by hand")
	assert.Equal(t, perennial.CodeConflict, end("another", here.Number), "another database")
	assert.Equal(t, perennial.CodeConflict, end(here.DatabaseID, here.Number+1), "the database went backwards")
	assert.Empty(t, absence(true))
	assert.Empty(t, end(here.DatabaseID, here.Number))
	assert.Equal(t, store.TombstoneErased, absence(true))
	c = b.connect(t)
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	require.NoError(t, b.Erase(t.Context(), c.ID))
	assert.Equal(t, store.TombstoneErased, absence(true))
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.Erase(t.Context(), c.ID)))

	_, err = b.Prune(t.Context(), 0, 100)
	require.NoError(t, err)
	assert.Equal(t, store.TombstoneErased, absence(true), "it outlives every retention")
	b.Exec(t, "UPDATE tombstones SET written_at = '2001-01-01 00:00:00+00:00'")
	_, err = b.Prune(t.Context(), time.Hour, 100)
	require.NoError(t, err)
	assert.Empty(t, absence(true))
}

// testInstallation: setup gives the database one id for ever; adopt gives it another and
// forgets every other Temporal. The number only rises.
func testInstallation(t *testing.T, b *bundle) {
	ctx := t.Context()
	none, err := b.Installation(ctx)
	require.NoError(t, err)
	assert.Equal(t, store.Installation{Bindings: []store.Binding{}}, none)
	_, err = b.RaiseNumber(ctx, "", 0)
	assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))

	blue := store.Binding{ClusterID: "c1", NamespaceID: "n1", TaskQueue: "q", Namespace: "default"}
	green := store.Binding{ClusterID: "c2", NamespaceID: "n2", TaskQueue: "q", Namespace: "default"}
	first, err := b.Bind(ctx, blue, false)
	require.NoError(t, err)
	require.NotEmpty(t, first.DatabaseID)
	both, err := b.Bind(ctx, green, false)
	require.NoError(t, err)
	again, err := b.Bind(ctx, blue, false)
	require.NoError(t, err)
	assert.Equal(t, []string{first.DatabaseID, first.DatabaseID}, []string{both.DatabaseID, again.DatabaseID})
	require.Len(t, again.Bindings, 2)
	found, ok := again.Find("n1", "q")
	assert.True(t, ok)
	assert.Equal(t, []string{"c1", "n1", "q", "default"}, []string{found.ClusterID, found.NamespaceID, found.TaskQueue, found.Namespace})
	_, ok = again.Find("n1", "another queue")
	assert.False(t, ok)

	before := func(address string) bool {
		verified, err := b.VerifiedBefore(ctx, address, "default", "q")
		require.NoError(t, err)
		return verified
	}
	assert.False(t, before("blue:7233"))
	require.NoError(t, b.NoteVerified(ctx, "blue:7233", blue))
	require.NoError(t, b.NoteVerified(ctx, "blue:7233", blue))
	assert.True(t, before("blue:7233"))
	assert.False(t, before("green:7233"))

	for want := int64(1); want < 4; want++ {
		n, err := b.RaiseNumber(ctx, first.DatabaseID, want-1)
		require.NoError(t, err)
		assert.Equal(t, want, n)
	}
	_, err = b.RaiseNumber(ctx, first.DatabaseID, 4)
	assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "Temporal is ahead")
	_, err = b.RaiseNumber(ctx, "another", 0)
	assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))

	adopted, err := b.Bind(ctx, green, true)
	require.NoError(t, err)
	assert.NotEqual(t, first.DatabaseID, adopted.DatabaseID)
	require.Len(t, adopted.Bindings, 1)
	assert.Equal(t, "n2", adopted.Bindings[0].NamespaceID)
	assert.EqualValues(t, 3, adopted.Number)
	assert.False(t, before("blue:7233"))
}

// testMarkRestored: every living row is in doubt, and its next generation lies above all
// that may have been given out; the number lies above Temporal's.
func testMarkRestored(t *testing.T, b *bundle) {
	var ids []string
	for range 3 {
		ids = append(ids, b.connect(t).ID)
	}
	_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), ids[2], []perennial.Status{perennial.StatusActive}, 1, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	installed, err := b.Bind(t.Context(), store.Binding{NamespaceID: "n", TaskQueue: "q"}, false)
	require.NoError(t, err)
	marked, err := b.MarkRestored(t.Context(), 40)
	require.NoError(t, err)
	assert.EqualValues(t, 2, marked)
	for i, id := range ids {
		c, _, err := b.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		assert.Equal(t, i < 2, c.Ambiguous())
		assert.Equal(t, i < 2, c.NextGeneration() > 1000)
	}
	id, number, err := b.InstallationNumber(t.Context())
	require.NoError(t, err)
	assert.Equal(t, installed.DatabaseID, id)
	assert.Greater(t, number, int64(1000))
	_, err = b.RaiseNumber(t.Context(), id, 40)
	require.NoError(t, err)
	marked, err = b.MarkRestored(t.Context(), 40)
	require.NoError(t, err)
	assert.Zero(t, marked)
}

// testProcesses: each process has one row; the revision that counts is the one that all
// living workers of a queue know.
func testProcesses(t *testing.T, b *bundle) {
	ctx := t.Context()
	now, err := b.Now(ctx)
	require.NoError(t, err)
	p := store.Process{ID: "p1", Kind: "worker", Host: "h", Version: "v1", Revision: 3, TaskQueue: "q", Keys: map[string][]uint32{"access_token": {7, 5}},
		ClockOffset: -2 * time.Second, SpoolSets: 4, Binding: "bound", StartedAt: now}
	require.NoError(t, b.Report(ctx, p))
	older := p
	older.ID, older.Revision = "p2", 2
	require.NoError(t, b.Report(ctx, older))
	require.NoError(t, b.Report(ctx, older))
	all, seen, err := b.Processes(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)
	for _, got := range all {
		assert.True(t, got.Alive(seen))
		if got.ID == "p1" {
			assert.False(t, got.ReportedAt.Before(now))
			got.ReportedAt = time.Time{}
			assert.Equal(t, p, got)
		}
	}
	revision := func(queue string) int {
		n, err := b.NewestRevision(ctx, queue)
		require.NoError(t, err)
		return n
	}
	assert.Equal(t, 2, revision("q"))
	for id, kind := range map[string]string{"p3": "server", "p4": "direct"} {
		other := older
		other.ID, other.Kind, other.Revision = id, kind, 1
		require.NoError(t, b.Report(ctx, other))
	}
	assert.Equal(t, 2, revision("q"), "only workers run workflows")
	require.NoError(t, b.Leave(ctx, "p3"))
	require.NoError(t, b.Leave(ctx, "p4"))
	assert.Zero(t, revision("another"))
	b.Exec(t, "UPDATE processes SET reported_at = '2001-01-01 00:00:00+00:00' WHERE id = 'p2'")
	assert.Equal(t, 3, revision("q"), "it is dead")
	_, err = b.Prune(ctx, time.Hour, 100)
	require.NoError(t, err)
	require.NoError(t, b.Leave(ctx, "p1"))
	all, _, err = b.Processes(ctx)
	require.NoError(t, err)
	assert.Empty(t, all)
}
