package client

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
)

// answer is one reply of the API.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// api is a RoundTripper that gives the test's answers; the last one repeats.
type api struct {
	mu      sync.Mutex
	answers []answer
	got     []*http.Request
	bodies  []string
	open    int // number of reply bodies that are not closed
	unread  int // number of bodies that were closed before their end
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(raw)
		_ = r.Body.Close() // the body is the test's own
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got, a.bodies = append(a.got, r), append(a.bodies, body)
	out := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	if out.err != nil {
		return nil, out.err
	}
	if out.header == nil {
		out.header = http.Header{}
	}
	a.open++
	return &http.Response{StatusCode: out.status, Header: out.header, Body: &replyBody{api: a, Reader: strings.NewReader(out.body)}, Request: r, ProtoMajor: 1}, nil
}

type replyBody struct {
	*strings.Reader
	api  *api
	once sync.Once
}

func (b *replyBody) Close() error {
	b.once.Do(func() {
		b.api.mu.Lock()
		defer b.api.mu.Unlock()
		b.api.open--
		if b.Len() > 0 {
			b.api.unread++
		}
	})
	return nil
}

// opaque is a body that net/http cannot rewind.
type opaque struct{ io.Reader }

// do sends a GET and returns its status.
func (b *bundle) do(t http.RoundTripper) (int, error) {
	resp, err := (&http.Client{Transport: t}).Get(createURL)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type closed struct {
	*bytes.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }
