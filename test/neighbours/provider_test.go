package neighbours

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kind is a sick connection's trouble: its provider's answer.
type kind string

const (
	http500            kind = "500"
	timesOut           kind = "timeout"
	html               kind = "html"
	http403            kind = "403"
	http401            kind = "401"
	invalidClient      kind = "invalid_client"
	unauthorizedClient kind = "unauthorized_client"
	http429            kind = "429" // about one connection
	slowly             kind = "slow"
	refused            kind = "refused"
)

var kinds = []kind{http500, timesOut, html, http403, http401, invalidClient, unauthorizedClient, http429, slowly, refused}

// slowReply is how long a slow connection waits for its good reply.
const slowReply = 15 * time.Second

// answer is the token endpoint's answer, unless it is a token set.
type answer struct {
	status      int
	contentType string
	body        string
}

var answers = map[kind]answer{
	http500:            {500, "text/plain", "internal error"},
	html:               {200, "text/html", "<!doctype html><title>Maintenance</title>"},
	http403:            {403, "text/html", "<!doctype html><title>Forbidden</title>"},
	http401:            {401, "text/plain", ""},
	invalidClient:      {401, "application/json", `{"error":"invalid_client"}`},
	unauthorizedClient: {400, "application/json", `{"error":"unauthorized_client"}`},
	http429:            {429, "text/plain", ""},
	refused:            {400, "application/json", `{"error":"invalid_grant"}`},
}

// tokenEndpoint is the provider. Its refresh tokens have the form "ID N" and rotate.
type tokenEndpoint struct {
	latency time.Duration
	life    time.Duration

	mu   sync.Mutex
	sick map[string]kind        // by connection
	from map[string]time.Time   // since when; zero: always
	good map[string][]time.Time // when it gave tokens
}

func newEndpoint(life time.Duration) *tokenEndpoint {
	return &tokenEndpoint{latency: 120 * time.Millisecond, life: life, sick: map[string]kind{}, from: map[string]time.Time{}, good: map[string][]time.Time{}}
}

// falls makes a connection sick from a time on.
func (p *tokenEndpoint) falls(id string, k kind, from time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick[id], p.from[id] = k, from
}

// mends makes a connection well.
func (p *tokenEndpoint) mends(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sick, id)
}

// state returns how a connection is sick now; empty: it is well.
func (p *tokenEndpoint) state(id string) kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from[id].After(time.Now()) {
		return ""
	}
	return p.sick[id]
}

// goods returns when a connection got tokens.
func (p *tokenEndpoint) goods(id string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good[id]
}

// RoundTrip implements [http.RoundTripper].
func (p *tokenEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	id, number, _ := strings.Cut(form.Get("refresh_token"), " ")
	is := p.state(id)
	wait := p.latency
	switch is {
	case slowly:
		wait = slowReply
	case timesOut:
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
	a, bad := answers[is]
	if !bad {
		a = p.tokens(id, number)
	}
	return &http.Response{StatusCode: a.status, Status: strconv.Itoa(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {a.contentType}}, Body: io.NopCloser(strings.NewReader(a.body)), ContentLength: int64(len(a.body))}, nil
}

func (p *tokenEndpoint) tokens(id, number string) answer {
	n, _ := strconv.Atoi(number) // the first has no number
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good[id] = append(p.good[id], time.Now())
	return answer{200, "application/json", fmt.Sprintf(`{"access_token":"A","refresh_token":"%s %d","expires_in":%d}`, id, n+1, int(p.life.Seconds()))}
}
