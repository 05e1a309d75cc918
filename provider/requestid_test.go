package provider

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestRequestIDIsKept: the ids that providers were seen to send, UUIDs among them, are
// what their support asks for.
func TestRequestIDIsKept(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{
		"hubspot":     "0195f3a2-7b1c-7d11-9e36-1b0f6b2d8c11",
		"microsoft":   "7b1c0195-f3a2-4d11-9e36-1b0f6b2d8c11",
		"quickbooks":  "1-674f0a1b-3f2c5d7e1a2b3c4d5e6f7a8b",
		"github":      "C2F6:2A4B7:1D3E5F7:2A3B4C5:67461A2B",
		"slack":       "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
		"stripe-apps": "req_AbC123xyz",
	} {
		e := entry(t, name)
		h := http.Header{}
		h.Set(e.RequestIDHeader, " "+id+" ")
		assert.Equal(t, id, e.requestID(h, testSecret, testToken, perennial.NewSecret("6f18f21e-a743-4509-b7fd-1a5e632fffa1")), name)
	}
}

// TestRequestIDIsNoSecret: a value that repeats a part of a secret, or that is no id,
// is dropped.
func TestRequestIDIsNoSecret(t *testing.T) {
	t.Parallel()
	e := Entry{RequestIDHeader: "X-Id"}
	long := perennial.NewSecret("eyJhbGciOiJSUzI1NiJ9." + strings.Repeat("Zm9vYmFyMTIzNDU2Nzg5", 20))
	short := perennial.NewSecret("hunter2")
	raw := long.Reveal()
	for name, id := range map[string]string{
		"the token":            raw[:128],
		"its beginning":        raw[:24],
		"its middle":           "id-" + raw[61:85],
		"its end":              raw[len(raw)-24:],
		"a short secret":       "hunter2",
		"a short secret in it": "id-hunter2-1",
		"base64 of it":         base64.StdEncoding.EncodeToString([]byte(raw))[:40],
		"base64url of a short": "x." + base64.URLEncoding.EncodeToString([]byte("hunter2")),
		"too long":             strings.Repeat("a", 129),
		"a sentence":           "not an id",
		"markup":               "<b>1</b>",
		"NUL":                  "a\x00b",
		"no UTF-8":             "a\xffb",
		"another alphabet":     "ид-1",
		"nothing":              "",
	} {
		assert.Empty(t, e.requestID(http.Header{"X-Id": {id}}, long, short, perennial.Secret{}), name)
	}
	assert.Empty(t, Entry{}.requestID(http.Header{"X-Id": {"1"}}))
	assert.Equal(t, "1", e.requestID(http.Header{"X-Id": {"1"}}, perennial.NewSecret("1"), perennial.Secret{}), "nothing so short is secret")
}

func BenchmarkRequestID(b *testing.B) {
	e := entry(b, "microsoft")
	h := http.Header{}
	h.Set(e.RequestIDHeader, "7b1c0195-f3a2-4d11-9e36-1b0f6b2d8c11")
	access, refresh := perennial.NewSecret(strings.Repeat("aB3_", 600)), perennial.NewSecret(strings.Repeat("0.Ab", 400))
	for b.Loop() {
		e.requestID(h, testSecret, testToken, testSecret, access, refresh, refresh)
	}
}
