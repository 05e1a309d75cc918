package doctor_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// TestBinding: before setup, bound here, beside another, behind Temporal's number, bound
// elsewhere, and a task queue of another database.
func TestBinding(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sees("binding", doctor.Unknown, "Temporal could not be opened")
	tc := c.dial("default")
	c.sees("binding", doctor.Warning, "unbound, so a copy or a restore is not noticed")
	_, _, err := c.bound(tc).Setup(t.Context())
	require.NoError(t, err)
	c.isWell("binding")
	require.NoError(t, c.bound(tc).Raise(t.Context()))
	c.isWell("binding")
	_, err = c.rows.Bind(t.Context(), store.Binding{NamespaceID: "green", TaskQueue: "green-queue"}, false)
	require.NoError(t, err)
	c.sees("binding", doctor.Well, "2 Temporals refresh database")

	c.d.Exec(t, "UPDATE installation SET number = 0")
	c.sees("binding", doctor.Wrong, "behind, so nothing is presented: the database went backwards (its number is 0, Temporal saw 1)")
	c.d.Exec(t, "UPDATE installation SET number = 1")
	c.d.Exec(t, "DELETE FROM bindings WHERE namespace_id <> 'green'")
	c.sees("binding", doctor.Wrong, "elsewhere, so nothing is presented")
	c.d.Exec(t, "UPDATE installation SET database_id = 'another'")
	c.sees("binding", doctor.Wrong, "foreign, so nothing is presented")
}

// TestProcesses: doctor shows each process's report and its faults.
func TestProcesses(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sees("processes", doctor.Warning, "no process has reported")
	report := func(change func(*store.Process)) {
		p := store.Process{ID: "p1", Kind: "worker", Host: "m1", Version: "v9", Revision: 2, TaskQueue: "q", Binding: "bound", Keys: map[string][]uint32{"access_token": {7, 6}, "refresh_token": {8}}, StartedAt: time.Now()}
		change(&p)
		require.NoError(t, c.rows.Report(t.Context(), p))
	}
	report(func(*store.Process) {})
	c.sees("processes", doctor.Well, "worker on m1: version v9, revision 2, task queue q, keys access_token [7 6] refresh_token [8], clock 0s from the database's, spool 0, binding bound")
	report(func(p *store.Process) { p.ClockOffset = -time.Minute })
	c.sees("processes", doctor.Warning, "its clock is wrong")
	report(func(p *store.Process) { p.SpoolSets = 2 })
	c.sees("processes", doctor.Warning, "token sets wait in its spool")
	c.d.Exec(t, "UPDATE processes SET reported_at = "+c.ago(3*time.Minute))
	c.sees("processes", doctor.Wrong, "its spool held token sets")
	report(func(*store.Process) {})
	c.d.Exec(t, "UPDATE processes SET reported_at = "+c.ago(90*time.Second))
	c.isWell("processes")
	c.d.Exec(t, "UPDATE processes SET reported_at = "+c.ago(3*time.Minute))
	c.sees("processes", doctor.Warning, "it has not reported for 3m")
	for _, state := range []string{"elsewhere", "behind", "foreign"} {
		report(func(p *store.Process) { p.Binding = state })
		c.sees("processes", doctor.Wrong, "it presents nothing")
	}
	report(func(*store.Process) {})
	report(func(p *store.Process) { p.ID, p.Host, p.Keys = "p2", "m2", map[string][]uint32{"access_token": {9, 7}} })
	c.sees("processes", doctor.Wrong, "it has no key 9, by which another process seals the access_token: worker on m1")
	report(func(p *store.Process) { p.Keys["access_token"] = []uint32{7, 6, 9} })
	c.isWell("processes")
}
