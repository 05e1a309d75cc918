package store

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// noon is the database's clock in these tests.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func TestDecideClaim(t *testing.T) {
	t.Parallel()
	open := func(deadline time.Time) perennial.OpenAttempt {
		return perennial.OpenAttempt{ID: "other", Digest: "d", StartedAt: noon.Add(-time.Minute), Deadline: deadline}
	}
	lostSince := noon.Add(-time.Minute)
	tests := []struct {
		name      string
		row       func(*perennial.Connection)
		req       func(*ClaimRequest)
		want      Verdict
		retryAt   time.Time
		ambiguous time.Time // the written value; zero: nothing
		lost      perennial.Outcome
	}{
		{name: "steady", want: VerdictClaimed},
		{name: "the row moved on", row: func(c *perennial.Connection) { c.Generation = 6 }, want: VerdictAlreadyFresh},
		{name: "moved on, with a live attempt of its own", row: func(c *perennial.Connection) { c.Generation, c.Open = 6, open(noon.Add(1)) }, want: VerdictAlreadyFresh},
		{name: "our own attempt is open", row: func(c *perennial.Connection) { c.Open = open(noon.Add(1)); c.Open.ID = "mine" }, want: VerdictClaimed},
		{name: "deadline 1 ns ahead", row: func(c *perennial.Connection) { c.Open = open(noon.Add(1)) }, want: VerdictBusy, retryAt: noon.Add(1)},
		{name: "deadline now", row: func(c *perennial.Connection) { c.Open = open(noon) }, want: VerdictClaimed, ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "lost, of an older token", row: func(c *perennial.Connection) { c.Open = open(noon); c.Open.Digest = "old" }, want: VerdictClaimed, lost: perennial.OutcomeUnknown},
		{name: "lost, already ambiguous", row: func(c *perennial.Connection) {
			c.Open, c.AmbiguousSince, c.AmbiguousDigest = open(noon), noon.Add(-time.Hour), "d"
		}, want: VerdictClaimed, lost: perennial.OutcomeUnknown},
		{name: "lost, ambiguous by an older token", row: func(c *perennial.Connection) {
			c.Open, c.AmbiguousSince, c.AmbiguousDigest = open(noon), noon.Add(-time.Hour), "old"
		}, want: VerdictClaimed, ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "lost, proven unsent", row: func(c *perennial.Connection) { c.Open = open(noon) }, req: func(r *ClaimRequest) { r.Class = perennial.ReplayReuseRevokes },
			want: VerdictClaimed, lost: perennial.OutcomeUnavailable},
		{name: "lost, sent, the access token lives 1 ns", row: func(c *perennial.Connection) {
			c.Open, c.Open.Sent, c.ExpiresAt = open(noon), true, noon.Add(1)
			c.Open.Sent = true
		}, req: func(r *ClaimRequest) { r.Class = perennial.ReplayReuseRevokes }, want: VerdictWait, retryAt: noon.Add(1), ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "lost, sent, the access token has ended", row: func(c *perennial.Connection) { c.Open, c.ExpiresAt = open(noon), noon; c.Open.Sent = true },
			req: func(r *ClaimRequest) { r.Class = perennial.ReplayReuseRevokes }, want: VerdictClaimed, ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "ambiguous, living access token, single use", row: func(c *perennial.Connection) {
			c.AmbiguousSince, c.AmbiguousDigest, c.ExpiresAt = lostSince, "d", noon.Add(time.Hour)
		}, want: VerdictClaimed},
		{name: "next attempt 1 ns ahead", row: func(c *perennial.Connection) { c.NextAttemptAt = noon.Add(1) }, want: VerdictWait, retryAt: noon.Add(1)},
		{name: "next attempt now", row: func(c *perennial.Connection) { c.NextAttemptAt = noon }, want: VerdictClaimed},
		{name: "a request does not shorten it", row: func(c *perennial.Connection) { c.NextAttemptAt = noon.Add(1) },
			req: func(r *ClaimRequest) { r.Trigger = perennial.TriggerRequest }, want: VerdictWait, retryAt: noon.Add(1)},
		{name: "confirm 1 ns ahead", row: func(c *perennial.Connection) { c.ConfirmAt = noon.Add(1) }, want: VerdictWait, retryAt: noon.Add(1)},
		{name: "confirm now", row: func(c *perennial.Connection) { c.ConfirmAt = noon }, want: VerdictClaimed},
		{name: "the later wait counts", row: func(c *perennial.Connection) { c.NextAttemptAt, c.ConfirmAt = noon.Add(1), noon.Add(2) }, want: VerdictWait, retryAt: noon.Add(2)},
		{name: "lost, then a wait", row: func(c *perennial.Connection) { c.Open, c.NextAttemptAt = open(noon), noon.Add(1) },
			want: VerdictWait, retryAt: noon.Add(1), ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "went backwards", req: func(r *ClaimRequest) { r.Generation = 9 }, want: VerdictClaimed, ambiguous: noon},
		{name: "went backwards, live attempt", row: func(c *perennial.Connection) { c.Open = open(noon.Add(1)) }, req: func(r *ClaimRequest) { r.Generation = 9 },
			want: VerdictBusy, retryAt: noon.Add(1), ambiguous: noon},
		{name: "went backwards, lost attempt: the earlier doubt", row: func(c *perennial.Connection) { c.Open = open(noon) }, req: func(r *ClaimRequest) { r.Generation = 9 },
			want: VerdictClaimed, ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "paused", row: func(c *perennial.Connection) { c.Status = perennial.StatusPaused }, want: VerdictRefused},
		{name: "paused, keep-alive", row: func(c *perennial.Connection) { c.Status = perennial.StatusPaused },
			req: func(r *ClaimRequest) { r.Trigger = perennial.TriggerKeepAlive }, want: VerdictClaimed},
		{name: "reconnect required", row: func(c *perennial.Connection) { c.Status = perennial.StatusReconnectRequired }, want: VerdictRefused},
		{name: "disconnected, asked for a later generation", row: func(c *perennial.Connection) { c.Status, c.RefreshTokenDigest = perennial.StatusDisconnected, "" },
			req: func(r *ClaimRequest) { r.Generation = 9 }, want: VerdictRefused},
		{name: "forced, the first", row: wellFor(time.Hour), req: byCaller, want: VerdictClaimed},
		{name: "forced, 1 ns too soon", row: forcedRow(10*time.Second-1, 1, time.Hour), req: byCaller, want: VerdictTooSoon, retryAt: noon.Add(1)},
		{name: "forced, in time", row: forcedRow(10*time.Second, 1, time.Hour), req: byCaller, want: VerdictClaimed},
		{name: "forced beside Temporal", row: forcedRow(0, 1, time.Hour), req: func(r *ClaimRequest) { byCaller(r); r.Trigger = perennial.TriggerFallback },
			want: VerdictTooSoon, retryAt: noon.Add(10 * time.Second)},
		{name: "forced, the third", row: forcedRow(0, 3, time.Hour), req: byCaller, want: VerdictTooSoon, retryAt: noon.Add(40 * time.Second)},
		{name: "forced, ungated", row: forcedRow(0, 1, time.Hour), req: func(r *ClaimRequest) { byCaller(r); r.Ungated = true },
			want: VerdictTooSoon, retryAt: noon.Add(10 * time.Second)},
		{name: "forced, soon due", row: forcedRow(0, 3, time.Second), req: byCaller, want: VerdictTooSoon, retryAt: noon.Add(time.Second)},
		{name: "due: not forced", row: forcedRow(0, 3, 0), req: byCaller, want: VerdictClaimed},
		{name: "expired: not forced", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.ExpiresAt = noon }, req: byCaller, want: VerdictClaimed},
		{name: "no due time: not forced", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.NextRefreshAt = time.Time{} }, req: byCaller, want: VerdictClaimed},
		{name: "no known expiry", row: func(c *perennial.Connection) { forcedRow(0, 1, time.Hour)(c); c.ExpiresAt = time.Time{} }, req: byCaller,
			want: VerdictTooSoon, retryAt: noon.Add(10 * time.Second)},
		{name: "works, with a fault", row: func(c *perennial.Connection) {
			forcedRow(0, 1, time.Hour)(c)
			c.Health, c.FailingCode = perennial.HealthFailing, "scopes_missing"
		}, req: byCaller, want: VerdictTooSoon, retryAt: noon.Add(10 * time.Second)},
		{name: "failed: not forced", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.FailureCount = 1 }, req: byCaller, want: VerdictClaimed},
		{name: "a timer is not forced", row: forcedRow(0, 3, time.Hour), req: func(r *ClaimRequest) { byCaller(r); r.Trigger = perennial.TriggerTimer }, want: VerdictClaimed},
		{name: "forced, no floor", row: forcedRow(0, 3, time.Hour), req: func(r *ClaimRequest) { r.Trigger = perennial.TriggerRequest }, want: VerdictClaimed},
		{name: "forced, the clock went back", row: forcedRow(-1, 3, time.Hour), req: byCaller, want: VerdictClaimed},
		{name: "forced, and a wait", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.NextAttemptAt = noon.Add(1) }, req: byCaller, want: VerdictWait, retryAt: noon.Add(1)},
		{name: "forced, a lost attempt", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.Open = open(noon) }, req: byCaller,
			want: VerdictClaimed, ambiguous: lostSince, lost: perennial.OutcomeUnknown},
		{name: "forced, went backwards", row: forcedRow(0, 3, time.Hour), req: func(r *ClaimRequest) { byCaller(r); r.Generation = 9 }, want: VerdictClaimed, ambiguous: noon},
		{name: "forced, paused", row: func(c *perennial.Connection) { forcedRow(0, 3, time.Hour)(c); c.Status = perennial.StatusPaused }, req: byCaller, want: VerdictRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			row := perennial.Connection{ID: "c", Status: perennial.StatusActive, Generation: 5, RefreshTokenDigest: "d"}
			req := ClaimRequest{ID: "c", Generation: 5, Trigger: perennial.TriggerTimer, AttemptID: "mine", Lease: time.Minute, Class: perennial.ReplaySingleUse}
			if tt.row != nil {
				tt.row(&row)
			}
			if tt.req != nil {
				tt.req(&req)
			}
			got := decideClaim(row, req, noon)
			require.Equal(t, tt.want, got.claim.Verdict)
			require.Equal(t, tt.retryAt, got.claim.RetryAt)
			require.Equal(t, row.Generation < req.Generation, got.claim.RolledBack)
			since, written := got.set["ambiguous_since"]
			require.Equal(t, !tt.ambiguous.IsZero(), written)
			if written {
				require.Equal(t, tt.ambiguous, since)
				require.Equal(t, "d", got.set["ambiguous_digest"])
			}
			if tt.lost == "" {
				require.Nil(t, got.lost)
			} else {
				require.Equal(t, tt.lost, got.lost.Outcome)
				require.Equal(t, "other", got.lost.ID)
			}
		})
	}
}

// wellFor changes a row to one that is due in so long.
func wellFor(due time.Duration) func(*perennial.Connection) {
	return func(c *perennial.Connection) {
		c.Health, c.NextRefreshAt, c.ExpiresAt = perennial.HealthHealthy, noon.Add(due), noon.Add(due+time.Minute)
	}
}

// forcedRow changes a row to one of so many forced refreshes, the last of them so long
// ago.
func forcedRow(ago time.Duration, count int, due time.Duration) func(*perennial.Connection) {
	return func(c *perennial.Connection) {
		wellFor(due)(c)
		c.ForcedAt, c.ForcedCount = noon.Add(-ago), count
	}
}

// byCaller changes a claim to a caller's.
func byCaller(r *ClaimRequest) {
	r.Trigger, r.Floor = perennial.TriggerRequest, perennial.Floor{First: 10 * time.Second, Longest: 10 * time.Minute}
}

// FuzzDecideClaim checks the fence's promises with any row. A claim never replaces
// another live attempt. It is never granted during a wait or in a status that forbids
// it. It always says when to ask again.
func FuzzDecideClaim(f *testing.F) {
	f.Add(int64(5), int64(5), uint8(0), uint8(0), uint8(0), "other", "d", false, int64(1), int64(0), int64(0), int64(0))
	f.Add(int64(5), int64(9), uint8(2), uint8(3), uint8(3), "mine", "d", true, int64(-1), int64(1), int64(2), int64(3))
	f.Add(int64(6), int64(5), uint8(1), uint8(1), uint8(1), "", "", false, int64(0), int64(-5), int64(-5), int64(-5))
	f.Fuzz(func(t *testing.T, generation, asked int64, status, trigger, class uint8, openID, openDigest string, sent bool, deadline, next, confirm, expires int64) {
		at := func(n int64) time.Time { return noon.Add(time.Duration(n % int64(time.Hour))) }
		triggers := []perennial.Trigger{perennial.TriggerTimer, perennial.TriggerRetry, perennial.TriggerConfirm, perennial.TriggerKeepAlive, perennial.TriggerRequest}
		row := perennial.Connection{ID: "c", Status: perennial.Statuses[int(status)%len(perennial.Statuses)], Generation: generation, RefreshTokenDigest: "d",
			NextAttemptAt: at(next), ConfirmAt: at(confirm), ExpiresAt: at(expires)}
		if openID != "" {
			row.Open = perennial.OpenAttempt{ID: openID, Digest: openDigest, StartedAt: at(deadline).Add(-time.Minute), Deadline: at(deadline), Sent: sent}
		}
		req := ClaimRequest{ID: "c", Generation: asked, Trigger: triggers[int(trigger)%len(triggers)], AttemptID: "mine", Lease: time.Minute,
			Class: perennial.ReplayClasses[int(class)%len(perennial.ReplayClasses)]}
		d := decideClaim(row, req, noon)

		_, writesAttempt := d.set["attempt_id"]
		live := openID != "" && row.Open.Deadline.After(noon)
		if live && writesAttempt {
			t.Fatalf("a live attempt was replaced: %+v", d)
		}
		if opened := writesAttempt && d.set["attempt_id"] != ""; opened != (d.claim.Verdict == VerdictClaimed && openID != "mine") {
			t.Fatalf("%s, and the open attempt written: %v", d.claim.Verdict, opened)
		}
		if d.claim.Verdict == VerdictClaimed && openID != "mine" &&
			(row.NextAttemptAt.After(noon) || row.ConfirmAt.After(noon) || generation > asked || !refreshable(row.Status, req.Trigger)) {
			t.Fatalf("claimed %+v for %+v", row, req)
		}
		if waits := d.claim.Verdict == VerdictWait || d.claim.Verdict == VerdictBusy; waits != d.claim.RetryAt.After(noon) {
			t.Fatalf("%s, and ask again at %s", d.claim.Verdict, d.claim.RetryAt)
		}
		if lost := openID != "" && openID != "mine" && !live && generation <= asked; lost != (d.lost != nil) {
			t.Fatalf("a lost attempt: %v, in the ledger: %v", lost, d.lost)
		}
		if d.lost != nil && d.lost.Outcome == perennial.OutcomeUnknown && openDigest == "d" && d.set["ambiguous_since"] == nil {
			t.Fatalf("a lost attempt left no doubt: %+v", d)
		}
	})
}
