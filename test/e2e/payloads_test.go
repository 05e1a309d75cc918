package e2e

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
)

func payload(encoding, data string) *commonpb.Payload {
	return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte(encoding)}, Data: []byte(data)}
}

func plain(data string) *commonpb.Payload { return payload("json/plain", data) }

// payloads returns messages that no handler expects.
func payloads() [][]*commonpb.Payload {
	all := [][]*commonpb.Payload{
		nil,
		{plain("{}"), plain("{}")},
		{plain("1"), payload("binary/null", ""), plain("x"), plain("{}")},
		{{Data: []byte("{}")}}, // without an encoding
		{{}},
	}
	for _, encoding := range []string{"binary/null", "binary/plain", "binary/encrypted", "json/protobuf", "binary/protobuf", ""} {
		all = append(all, []*commonpb.Payload{payload(encoding, `{"ID":"x"}`)})
	}
	for _, data := range []string{"", "null", "{}", "[]", `""`, `"x"`, "1", "-1", "1e400", "9223372036854775808", "true", "{", "\xff\x00", `{"ID":1}`, `{"if_generation":"1"}`,
		`{"connection_id":[]}`, strings.Repeat("[", 20_000), `{"a":` + strings.Repeat(`{"a":`, 9_990) + "1" + strings.Repeat("}", 9_991)} {
		all = append(all, []*commonpb.Payload{plain(data)})
	}
	for _, size := range []int{128 << 10, 256 << 10, 1 << 20, 2<<20 - 1<<10, 2 << 20, 2<<20 + 1<<10} {
		all = append(all, []*commonpb.Payload{plain(`"` + strings.Repeat("<", size) + `"`)})
	}
	return all
}

func encoded(v any) *commonpb.Payload {
	if raw, ok := v.(json.RawMessage); ok {
		return plain(string(raw))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return plain(string(raw))
}

// unescaped encodes v as a foreign sender may: without the escapes by which Go makes some
// characters six times as long.
func unescaped(v any) json.RawMessage {
	return json.RawMessage(strings.ReplaceAll(string(encoded(v).Data), `\u003c`, "<"))
}

// altered returns one of the values with a few bytes or numbers changed.
func (h *hostile) altered(values []any) *commonpb.Payload {
	raw := slices.Clone(encoded(values[h.random.IntN(len(values))]).Data)
	for range 1 + h.random.IntN(4) {
		at := h.random.IntN(len(raw) + 1)
		switch h.random.IntN(4) {
		case 0:
			raw = raw[:at]
		case 1:
			raw = append(raw[:at:at], append([]byte{byte(h.random.Uint32())}, raw[at:]...)...)
		case 2:
			raw = []byte(strings.Replace(string(raw), ":0", ":9223372036854775807", 1+h.random.IntN(5)))
		case 3:
			raw = append(raw[:at:at], raw[min(at+1+h.random.IntN(9), len(raw)):]...)
		}
	}
	return plain(string(raw))
}

var (
	farPast   = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC)
	farFuture = time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)
	// numbers are generations that no row has.
	numbers = []int64{math.MinInt64, -1, 1<<31 + 1, 1 << 53, 1 << 62, math.MaxInt64 - 10_000, math.MaxInt64 - 1, math.MaxInt64}
)

func (h *hostile) requests() (out []any) {
	for _, n := range append(numbers, 0, 1, h.c.Generation-1, h.c.Generation+1, h.c.Generation+10_001) {
		out = append(out, workflows.RefreshNow{IfGeneration: n})
	}
	return out
}

// sets returns token sets that the workflow must drop. It also sends one that is sealed
// as it should be and comes late, twice.
func (h *hostile) sets() (out []any) {
	own := h.deps.Keyring
	for range 2 {
		h.send("signal", workflows.SignalUnsaved, []*commonpb.Payload{encoded(h.set(h.c, own, h.c.Generation-1))})
	}
	forged := h.set(h.c, own, h.c.Generation)
	forged.Seal = []byte("x")
	out = append(out,
		h.set(h.other, own, h.other.Generation), // another's, sealed as it should be
		h.set(h.c, h.foreign, h.c.Generation),   // a foreign installation's
		h.set(h.other, h.foreign, h.other.Generation),
		forged, store.SaveRequest{ID: h.c.ID})
	another := h.set(h.other, own, h.other.Generation)
	another.ID = h.c.ID // another's seal under this connection's id
	out = append(out, another)
	for _, n := range numbers {
		r := h.set(h.c, h.foreign, h.c.Generation)
		r.Generation, r.NewGeneration = n, n+1
		out = append(out, r)
		r.Generation, r.NewGeneration = h.c.Generation, n
		out = append(out, r)
	}
	for _, at := range []time.Time{farPast, farFuture} {
		r := h.set(h.c, h.foreign, h.c.Generation)
		r.ExpiresAt, r.NextRefreshAt, r.NextAttemptAt, r.AmbiguousSince, r.Ledger.StartedAt = at, at, at, at, at
		out = append(out, r)
	}
	for _, size := range []int{100 << 10, 300 << 10, 1 << 20, 2<<20 - 8<<10} {
		r := store.SaveRequest{ID: h.c.ID, NewGeneration: 9, AttemptID: strings.Repeat("<", size)}
		out = append(out, unescaped(r))
	}
	return out
}

// set returns a token set for the generation after the given one, sealed with a keyring.
func (h *hostile) set(c perennial.Connection, k *seal.Keyring, generation int64) store.SaveRequest {
	sealed := func(field seal.Field) []byte {
		out, err := k.Seal(seal.BindingOf(c, field, generation+1), perennial.NewSecret("planted by somebody"))
		require.NoError(h, err)
		return out
	}
	req := store.SaveRequest{ID: c.ID, AttemptID: "made-up", Generation: generation, Digest: c.RefreshTokenDigest, NewGeneration: generation + 1,
		SealedTokens: store.SealedTokens{AccessTokenSealed: sealed(seal.FieldAccessToken), RefreshTokenSealed: sealed(seal.FieldRefreshToken), RefreshTokenDigest: "planted",
			ExpiresAt: time.Now().Add(time.Hour), NextRefreshAt: time.Now().Add(time.Hour)}}
	require.NoError(h, refresh.Authenticate(k, c, &req))
	return req
}

// states returns the states that an attacker may start the workflow with.
func (h *hostile) states() (out []any) {
	first := workflows.NewState(h.c.ID)
	out = append(out, first, workflows.NewState(h.other.ID), workflows.State{}, unescaped(workflows.State{ConnectionID: "con_" + strings.Repeat("<", 1<<20)}))
	for _, n := range numbers {
		s := first
		s.Generation, s.Refreshes, s.Dropped = n, n, n
		out = append(out, s)
		s = first
		s.Looks = int(n)
		out = append(out, s)
		s = first
		s.Revision = int(n)
		out = append(out, s)
	}
	for _, at := range []time.Time{farPast, farFuture} {
		s := first
		s.Next, s.Digested, s.View = at, at, &activities.View{Status: perennial.StatusActive, Wait: math.MaxInt64, ExpiresAt: at, RetryAt: at, Generation: 1 << 40}
		out = append(out, s)
		s = first
		s.View = &activities.View{Gone: true, Tombstone: "disconnected"}
		out = append(out, s)
	}
	aside := first
	aside.SetAside = []store.SaveRequest{h.set(h.other, h.deps.Keyring, h.other.Generation), h.set(h.c, h.foreign, h.c.Generation)}
	shown := first
	shown.Shown = map[string]string{activities.AttributeStatus: strings.Repeat("<", 1<<20), "Hostile": "x", "TemporalChangeVersion": "y"}
	return append(out, aside, unescaped(shown))
}
