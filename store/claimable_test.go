package store

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/schema"
	"github.com/stretchr/testify/require"
)

// TestClaimable: for every row the fence, the one statement, the bulk claim and their
// rule in Go agree whether it may be claimed, and leave the same row.
//
// The rows are the plain one, those that differ from it in one thing, and some that
// differ in several, which the seed draws.
func TestClaimable(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, c := range map[string]struct {
		open  func(*testing.T) *Store
		near  time.Duration // the shortest tested time before or after now
		drawn int
	}{
		"PostgreSQL": {frozenPostgres, time.Microsecond, 800},
		"SQLite":     {freshSQLite, 10 * time.Minute, 300}, // its clock runs
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.open(t)
			now, err := s.Now(t.Context())
			require.NoError(t, err)
			if s.db.Dialect == schema.Postgres {
				require.Equal(t, noon, now)
			}
			checkClaimable(t, s, now, claimCases(now, c.near, rand.New(rand.NewPCG(seed, 0)), c.drawn))
		})
	}
}

// TestClaimCasesCoverEveryColumn: a new column must be among the drawn ones too, or be
// listed here as irrelevant for a claim.
func TestClaimCasesCoverEveryColumn(t *testing.T) {
	t.Parallel()
	changed := map[string]bool{}
	plain := flat(plainCase(noon).row)
	for _, c := range claimCases(noon, time.Second, nil, 0) {
		for name, value := range flat(c.row) {
			if !reflect.DeepEqual(value, plain[name]) {
				changed[name] = true
			}
		}
	}
	every := slices.Sorted(slices.Values(connections.names()))
	require.Equal(t, []string{"access_token_sealed", "account_id", "app", "backoff_until", "client_id_digest", "created_at", "failing_since",
		"grant_expires_at", "grant_warned_days", "grant_warned_for", "host", "id", "idle_warned_days", "idle_warned_for",
		"last_refreshed_at", "last_unauthorized_at", "last_used_at", "metadata", "missing_scopes", "provider", "reason", "refresh_count",
		"refresh_token_digest", "refresh_token_expires_at", "refresh_token_sealed", "scopes", "tenant_id", "token_type", "updated_at"},
		slices.DeleteFunc(every, func(name string) bool { return changed[name] }))
}

// paths are the ways to claim. Each has, for each case, a connection and an app of its
// own.
var paths = []string{"slow", "fast", "slot", "bulk"}

func checkClaimable(t *testing.T, s *Store, now time.Time, cases []claimCase) {
	ctx := t.Context()
	before := insertCases(t, s, now, cases)
	unharmedRows, innocentRows, undisturbedRows := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for where, into := range map[string]map[string]bool{unharmed: unharmedRows, innocent: innocentRows, undisturbed: undisturbedRows} {
		clock := "(SELECT ? AS now) AS t"
		if s.db.Dialect == schema.Postgres {
			clock = "(SELECT ?::timestamptz AS now) AS t"
		}
		var ids []string
		require.NoError(t, s.db.With(ctx).Table("connections AS c, "+clock, db.Nullable(now)).Where(where).Pluck("c.id", &ids).Error)
		for _, id := range ids {
			into[id] = true
		}
	}
	taken, tooSoon := 0, 0
	for i, k := range cases {
		id := func(path string) string { return fmt.Sprintf("%d-%s", i, path) }
		inserted := func(path string) perennial.Connection { return before[id(path)] }
		c := tidy(inserted("slow"))
		circuit, app := circuitRow{}, appRow{}
		if k.circuit != nil {
			circuit = *k.circuit
		}
		if k.app != nil {
			app = *k.app
		}
		req := k.req
		req.ID = id("slow")
		var wrong []string
		same := func(what string, want, got any) {
			if !reflect.DeepEqual(want, got) {
				wrong = append(wrong, fmt.Sprintf("%s: want %v, got %v", what, want, got))
			}
		}
		sameRow := func(what string, want, got perennial.Connection) {
			wanted, have := flat(want), flat(got)
			for _, name := range slices.Sorted(slices.Values(connections.names())) {
				same(what+": "+name, wanted[name], have[name])
			}
		}

		// The rule in SQL is the rule in Go.
		atOnce, open := claimableAtOnce(c, now), gateOpen(c, circuit, app, k.turn == "has", now)
		same("innocent", nothingFailed(c), innocentRows[id("slow")])
		same("unharmed", atOnce, unharmedRows[id("slow")])
		same("undisturbed", open, undisturbedRows[id("slow")])

		// What the rule admits, the gate admits and the fence claims, and nothing else
		// is written.
		wide, _, err := s.wideOpen(ctx, c, 0)
		require.NoError(t, err)
		same("the gate's one read", open && !circuit.bars(c), wide)
		admission := decideAdmission(circuit, app, 0, AdmitRequest{Connection: c, Interval: time.Minute, released: k.turn == "has"}, now).admission
		same("the gate", open, admission.Admitted && !admission.Probe)
		same("the gate hears of it", circuit.bars(c), admission.NoteEveryReply)
		floored := req.Trigger.ByCaller() && !c.ForcedAt.IsZero() // perhaps: the fence decides
		fast := atOnce && open && c.Generation == req.Generation && !k.otherApp && !floored
		if fast {
			taken++
		}
		if atOnce {
			req := req
			req.Generation = c.Generation
			decided := decideClaim(c, req, now)
			verdict, set := VerdictClaimed, claimColumns(c, req, now)
			if floored && req.Floor.Until(c, now).After(now) {
				verdict, set, tooSoon = VerdictTooSoon, columns{}, tooSoon+1
			}
			same("the fence", verdict, decided.claim.Verdict)
			same("what the fence writes", set, decided.set)
			same("a lost attempt", (*perennial.Attempt)(nil), decided.lost)
			same("a restored row", false, decided.claim.RolledBack)
		}

		// The slow path does what the fence decides.
		claim, err := s.Claim(ctx, req)
		require.NoError(t, err)
		decided := decideClaim(c, req, claim.Now)
		same("slow: verdict", decided.claim.Verdict, claim.Verdict)
		same("slow: wait", decided.claim.RetryAt.Truncate(time.Microsecond), claim.RetryAt.Truncate(time.Microsecond))
		slow, err := connections.apply(inserted("slow"), decided.set)
		require.NoError(t, err)
		if len(decided.set) > 0 {
			slow.UpdatedAt = claim.Now
		}
		sameRow("slow", slow, stored(t, s, id("slow")))

		// The one statement.
		asked := id("fast")
		if k.otherApp {
			asked = "other"
		}
		req.ID = id("fast")
		claim, ok, err := s.FastClaim(ctx, asked, req)
		require.NoError(t, err)
		same("fast", fast && s.db.Dialect == schema.Postgres, ok)
		want := inserted("fast")
		if ok {
			want = claimedRow(t, want, req, claim.Now)
			same("fast: answer", tidy(stored(t, s, id("fast"))), claim.Connection)
		}
		sameRow("fast", want, stored(t, s, id("fast")))

		// Its gate, of an app with a limit.
		asked = id("slot")
		if k.otherApp {
			asked = "other"
		}
		slot, ok, err := s.FastAdmit(ctx, FastAdmitRequest{ID: id("slot"), Generation: req.Generation, App: asked, Trigger: req.Trigger, Rate: 10, Patience: time.Second})
		require.NoError(t, err)
		same("slot", fast && k.row.Proven() && k.app != nil && s.db.Dialect == schema.Postgres, ok)
		if !ok || slot.Admitted {
			sameRow("slot", inserted("slot"), stored(t, s, id("slot")))
		}

		// The bulk claim.
		ready := latest(c.NextRefreshAt, c.NextAttemptAt)
		due := !c.NextRefreshAt.IsZero() && atOnce && open && c.Proven() // the first refresh of an import is its workflow's
		shard := Shard{App: id("bulk"), Of: 1}
		if s.db.Dialect == schema.Postgres {
			n, err := s.Due(ctx, shard, 10)
			require.NoError(t, err)
			same("due", map[bool]int{true: 1}[due && !ready.After(now)], n)
		}
		paced, err := s.ClaimDue(ctx, ClaimDueRequest{Shard: shard, Limit: 10, Late: k.late, Lease: req.Lease, Trigger: req.Trigger})
		require.NoError(t, err)
		want = inserted("bulk")
		if due = due && !ready.After(now.Add(-k.late)); due && len(paced.Claims) == 1 {
			got := paced.Claims[0]
			want = claimedRow(t, want, ClaimRequest{AttemptID: got.Connection.Open.ID, Lease: req.Lease, Trigger: req.Trigger}, got.Now)
			same("bulk: answer", tidy(stored(t, s, id("bulk"))), got.Connection)
		}
		same("bulk", map[bool]int{true: 1}[due], len(paced.Claims))
		sameRow("bulk", want, stored(t, s, id("bulk")))

		// The model.
		m := NewMemory(func() time.Time { return now })
		m.rows[req.ID], m.circuits[inserted("fast").App+" "+c.Host], m.apps[inserted("fast").App] = inserted("fast"), circuit, app
		asked = inserted("fast").App
		if k.otherApp {
			asked = "other"
		}
		_, ok, err = m.FastClaim(ctx, asked, req)
		require.NoError(t, err)
		same("model", fast && !circuit.bars(c), ok) // which has no releases

		require.Empty(t, wrong, "case %d: %s\n%+v\n%s", i, k.name, c, strings.Join(wrong, "\n"))
	}
	require.Greater(t, tooSoon, 10)
	require.Greater(t, taken, len(cases)/5, "the fast path takes too few for a comparison")
	require.Less(t, taken, 4*len(cases)/5, "the fast path leaves too few for a comparison")
}

// claimedRow returns the row after a claim.
func claimedRow(t *testing.T, c perennial.Connection, req ClaimRequest, now time.Time) perennial.Connection {
	t.Helper()
	c, err := connections.apply(c, claimColumns(tidy(c), req, now))
	require.NoError(t, err)
	c.UpdatedAt = now
	return c
}

// stored returns a row as it is, with the leftovers that tidy clears.
func stored(t *testing.T, s *Store, id string) perennial.Connection {
	t.Helper()
	rows, err := connections.find(s.db.With(t.Context()).Where("id = ?", id))
	require.NoError(t, err)
	require.Len(t, rows, 1)
	return rows[0]
}

// flat returns a row by column, for comparison.
func flat(c perennial.Connection) map[string]any {
	out := map[string]any{}
	for _, column := range connections.columns {
		switch value := column.value(&c).(type) {
		case []byte:
			out[column.name] = string(value)
		default:
			out[column.name] = value
		}
	}
	return out
}

// frozenPostgres is an empty database whose clock is stopped at noon: a function of the
// same name precedes PostgreSQL's own.
func frozenPostgres(t *testing.T) *Store {
	t.Helper()
	u, err := url.Parse(testpg.URL(t))
	require.NoError(t, err)
	query := u.Query()
	query.Set("search_path", "public,pg_catalog")
	u.RawQuery = query.Encode()
	s := migrated(t, u.String())
	require.NoError(t, s.db.With(t.Context()).Exec(`CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
		AS $$ SELECT timestamptz '`+noon.Format(time.RFC3339)+`' $$`).Error)
	return s
}

func freshSQLite(t *testing.T) *Store {
	t.Helper()
	return migrated(t, "sqlite:"+filepath.Join(t.TempDir(), "claimable.db"))
}

func migrated(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, _, err = s.Migrate(t.Context())
	require.NoError(t, err)
	return s
}
