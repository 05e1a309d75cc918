package provider

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// raw answers each request with these bytes and closes the connection.
func raw(t *testing.T, reply string) App {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, reply)
			}
			_ = c.Close()
		}
	}()
	return app("http://" + l.Addr().String())
}

// TestCutForm: with each framing of HTTP, if nothing proves that a form is complete,
// its whole members are read and the last one is not.
func TestCutForm(t *testing.T) {
	t.Parallel()
	const form = "access_token=A2&expires_in=3600&refresh_token=R2-0123456789"
	gzipped := func(s string) string {
		var b strings.Builder
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, s)
		_ = w.Close()
		return b.String()
	}
	half := form[:len(form)-5]
	for name, c := range map[string]struct {
		reply   string
		refresh string
		cut     bool
		outcome perennial.Outcome
	}{
		"its length":                     {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(form), form), "R2-0123456789", false, perennial.OutcomeRefreshed},
		"its last chunk":                 {fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(form), form), "R2-0123456789", false, perennial.OutcomeRefreshed},
		"gzip's checksum":                {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzipped(form), "R2-0123456789", false, perennial.OutcomeRefreshed},
		"cut, by its length":             {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(form), half), "", true, perennial.OutcomeRefreshed},
		"cut, by its status 201":         {fmt.Sprintf("HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(form), half), "", true, perennial.OutcomeRefreshed},
		"cut within a chunk":             {fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(form), half), "", true, perennial.OutcomeRefreshed},
		"cut between chunks":             {fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half), "", true, perennial.OutcomeRefreshed},
		"cut, in gzip":                   {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzipped(form)[:50], "", true, perennial.OutcomeRefreshed},
		"up to the close":                {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + half, "", true, perennial.OutcomeRefreshed},
		"HTTP/1.0":                       {"HTTP/1.0 200 OK\r\n\r\n" + form, "", true, perennial.OutcomeRefreshed},
		"HTTP/1.0, another last":         {"HTTP/1.0 200 OK\r\n\r\n" + form + "&scope=a", "R2-0123456789", false, perennial.OutcomeRefreshed},
		"in its first member":            {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\naccess_token=A", "", false, perennial.OutcomeUnknown},
		"JSON up to the close":           {"HTTP/1.0 200 OK\r\n\r\n" + `{"access_token":"A2","refresh_token":"R2"}`, "R2", false, perennial.OutcomeRefreshed},
		"JSON, cut after its end":        {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"access_token":"A2","refresh_token":"R2"}`, "R2", false, perennial.OutcomeRefreshed},
		"JSON, cut":                      {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"access_token":"A2","refresh_token":"R`, "", true, perennial.OutcomeRefreshed},
		"JSON, cut in its access token":  {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"refresh_token":"R2","access_token":"A`, "", false, perennial.OutcomeUnknown},
		"JSON, cut after both":           {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"access_token":"A2","refresh_token":"R2","scope":"a`, "R2", false, perennial.OutcomeRefreshed},
		"JSON, cut before the top's":     {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"authed_user":{"access_token":"A2","refresh_token":"R2"},"acc`, "", false, perennial.OutcomeUnknown},
		"JSON, cut beside another's":     {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + `{"access_token":"A2","authed_user":{"refresh_token":"R2"},"refr`, "", true, perennial.OutcomeRefreshed},
		"JSON, not cut but wrong":        {"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + `{"access_token":"A2","x":"\q","refresh_token":"R2-01234567"}`, "R2-01234567", false, perennial.OutcomeRefreshed},
		"a form, its end left out":       {"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n" + "access_token=A2&refre", "", true, perennial.OutcomeRefreshed},
		"a form, its last wrongly coded": {"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n" + "access_token=A2&refresh_token=R%2", "", true, perennial.OutcomeRefreshed},
		"a refusal":                      {"HTTP/1.0 400 Bad Request\r\n\r\nerror=invalid_grant", "", false, perennial.OutcomeRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := NewClient(ClientConfig{}).Refresh(t.Context(), raw(t, c.reply), testSecret, testToken, free)
			require.Equal(t, c.outcome, r.Outcome, r.Code)
			assert.Equal(t, c.refresh, r.Tokens.RefreshToken.Reveal())
			assert.Equal(t, c.cut, r.Cut)
			if c.outcome == perennial.OutcomeRefreshed {
				assert.Equal(t, "A2", r.Tokens.AccessToken.Reveal())
			}
		})
	}
	number := NewClient(ClientConfig{}).Refresh(t.Context(), raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+`{"access_token":"A2","refresh_token":"R2","expires_in":36`), testSecret, testToken, free)
	assert.Zero(t, number.Tokens.ExpiresIn, "a number may be cut")
	assert.Equal(t, "R2", number.Tokens.RefreshToken.Reveal())
	h2 := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, form)
		w.(http.Flusher).Flush() // no Content-Length
	}))
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	r := trusting(h2).Refresh(t.Context(), app(h2.URL), testSecret, testToken, free)
	assert.Equal(t, "R2-0123456789", r.Tokens.RefreshToken.Reveal(), "the end of its stream")
	assert.False(t, r.Cut)
}

// FuzzCutForm: wherever a form breaks off, a token is complete or absent, and an absent
// refresh token is reported as cut.
func FuzzCutForm(f *testing.F) {
	f.Add("access", "refresh", uint8(0), uint16(30), true)
	f.Add("a&b=c", "r%+\xff\x00", uint8(1), uint16(45), false)
	f.Add("a", "access_token=x", uint8(2), uint16(60), true)
	f.Fuzz(func(t *testing.T, access, refresh string, order uint8, at uint16, broken bool) {
		if access == "" || refresh == "" {
			return
		}
		members := []string{"access_token=" + url.QueryEscape(access), "refresh_token=" + url.QueryEscape(refresh), "expires_in=3600"}
		for i := range members {
			members[i], members[int(order)%(i+1)] = members[int(order)%(i+1)], members[i]
		}
		form := strings.Join(members, "&")
		o := &oneShot{used: true, status: 200, at: time.Now()}
		o.sent.Store(true)
		resp := &http.Response{ProtoMajor: 1, ContentLength: -1, Body: io.NopCloser(strings.NewReader(form[:int(at)%(len(form)+1)]))}
		if broken {
			resp.Body = io.NopCloser(io.MultiReader(resp.Body, iotest.ErrReader(errors.New("reset"))))
		}
		o.body, o.err = io.ReadAll(resp.Body)
		o.whole = o.err == nil && endProven(resp)
		r := o.reply(Entry{}, time.Now())
		if got := r.Tokens.AccessToken.Reveal(); got != "" && got != access {
			t.Fatalf("access token %q of %q", got, access)
		}
		got := r.Tokens.RefreshToken.Reveal()
		if got != "" && got != refresh {
			t.Fatalf("refresh token %q of %q", got, refresh)
		}
		if r.Cut != (r.Outcome == perennial.OutcomeRefreshed && got == "") {
			t.Fatalf("cut is %v with %q", r.Cut, got)
		}
		if r.Tokens.ExpiresIn != 0 && r.Tokens.ExpiresIn != time.Hour {
			t.Fatalf("a life of %s", r.Tokens.ExpiresIn)
		}
	})
}
