// Package remote is the client's backend over Perennial's HTTP API, for product code
// that has only its address and an API key. The key needs the scope tokens:read, and
// connections:write to connect, reconnect and disconnect. The client's tenant is the
// key's.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
)

// Config configures a [Backend]. URL and Key are required.
type Config struct {
	URL string       // the server's: https://perennial.example
	Key words.Secret // the API key
	// Tenant is whom the client serves. It is needed with a key of every tenant; a key of
	// one tenant needs none.
	Tenant string

	// HTTP sends the requests. It follows no redirect, because the key belongs to one
	// address. Defaults to a client of its own.
	HTTP *http.Client
	// AllowHTTP allows the key to travel to other machines without TLS. Defaults to
	// false: RFC 6750 section 5.3 forbids it.
	AllowHTTP bool
}

// Backend implements [client.Backend] for the tenant of its configuration or of its key.
type Backend struct {
	base   string
	key    words.Secret
	tenant string // empty: the key's own
	http   *http.Client
}

// New returns a backend.
func New(c Config) (*Backend, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, words.Errorf(words.CodeInvalid, "client: URL must be the server's, for example https://perennial.example")
	case u.Scheme == "http" && !c.AllowHTTP && !loopback(u.Hostname()):
		return nil, words.Errorf(words.CodeInvalid, "client: without TLS everybody on the way reads the API key: use https, or set AllowHTTP")
	case c.Key.IsZero():
		return nil, words.Errorf(words.CodeInvalid, "client: Key is needed; `perennial apikey create` makes one")
	}
	if c.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 32
		c.HTTP = &http.Client{Transport: transport}
	}
	own := *c.HTTP
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Backend{base: strings.TrimSuffix(c.URL, "/") + "/v1", key: c.Key, tenant: c.Tenant, http: &own}, nil
}

// Load implements [client.Backend].
func (b *Backend) Load(ctx context.Context, id string) (client.TokenState, error) {
	var t wire.Token
	p, err := b.call(ctx, http.MethodGet, id, "/token?refresh=false", nil, &t)
	switch {
	case err != nil:
		return client.TokenState{}, err
	case p == nil:
		t.State.Access = words.NewSecret(t.AccessToken)
		return t.State, nil
	case p.State != nil: // there is a row, but no usable token
		return *p.State, nil
	}
	return client.TokenState{}, p.err(id)
}

// Refresh implements [client.Backend].
func (b *Backend) Refresh(ctx context.Context, id string, generation int64) error {
	p, err := b.call(ctx, http.MethodPost, id, "/refresh", wire.RefreshBody{IfGeneration: generation}, nil)
	if err != nil || p == nil {
		return err
	}
	return p.err(id)
}

// Refused implements [client.Refuser]. A server from before reports has no such path; then
// it is a refresh.
func (b *Backend) Refused(ctx context.Context, id string, generation int64, why client.RefusalCause) error {
	p, err := b.call(ctx, http.MethodPost, id, "/refused", wire.RefusedBody{Generation: generation, Why: why}, nil)
	switch {
	case err != nil || p == nil:
		return err
	case p.Code == words.CodeNotFound:
		return b.Refresh(ctx, id, generation)
	}
	return p.err(id)
}

// Note implements [client.Backend].
func (b *Backend) Note(ctx context.Context, id string, n client.Note) error {
	p, err := b.call(ctx, http.MethodPost, id, "/notes", wire.NoteBody{Note: n}, nil)
	if err != nil || p == nil {
		return err
	}
	return p.err(id)
}

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 1 << 20

// call makes one request about a connection.
func (b *Backend) call(ctx context.Context, method, id, rest string, body, into any) (*problem, error) {
	path, err := under("/connections/", id)
	if err != nil {
		return nil, err
	}
	return b.request(ctx, method, path+rest, body, into)
}

// under returns the path of the item with this id. PathEscape leaves dots alone, and a
// path of dots would lead elsewhere.
func under(collection, id string) (string, error) {
	if strings.Trim(id, ".") == "" {
		return "", words.Errorf(words.CodeNotFound, "there is nothing with the id %q", id)
	}
	return collection + url.PathEscape(id), nil
}

// request makes one request. A refusal comes back as the problem; err means that the
// API did not answer.
func (b *Backend) request(ctx context.Context, method, path string, body, into any) (*problem, error) {
	var send io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("ask the API: %w", err)
		}
		send = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, b.base+path, send)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+b.key.Reveal())
	r.Header.Set("Accept", "application/json")
	if b.tenant != "" {
		r.Header.Set("Perennial-Tenant", b.tenant)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := b.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the API's answer: %w", err)
	}
	if answer.StatusCode/100 == 2 {
		if into == nil {
			return nil, nil
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("read the API's answer: it is not as expected") // the parser's words may repeat the token
		}
		return nil, nil
	}
	p := &problem{wire.Problem{Status: answer.StatusCode}}
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json") || json.Unmarshal(raw, p) != nil || p.Code == "" {
		return nil, words.Errorf(words.CodeUnavailable, "the API's address answered with HTTP status %d, and not as Perennial does", answer.StatusCode)
	}
	return p, nil
}

func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// problem is an error of the API.
type problem struct{ wire.Problem }

// known has the API's codes that this package passes on. Any other code counts as no
// answer.
var known = map[words.Code]bool{words.CodeInvalid: true, words.CodeConflict: true, words.CodeReconnectRequired: true, words.CodePaused: true,
	words.CodeDisconnected: true, words.CodeGenerationAhead: true, words.CodeUnavailable: true, words.CodeSealed: true, words.CodeInternal: true}

func (p *problem) err(id string) error {
	// An id that no connection can have is not found either.
	if p.Code == words.CodeNotFound || p.Code == words.CodeInvalid && p.Status == http.StatusUnprocessableEntity {
		return words.Errorf(words.CodeNotFound, "there is no connection %q of this API key's tenant", id)
	}
	code := p.Code
	if code == words.CodeGenerationAhead && p.State != nil {
		return &words.GenerationAheadError{Connection: id, Generation: p.State.Generation}
	}
	if !known[code] {
		code = words.CodeUnavailable
	}
	return words.Errorf(code, "the API refused connection %s: %s (%s, HTTP status %d, request %s)", id, p.Detail, p.Code, p.Status, p.RequestID)
}
