package fakeprovider

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
)

// Transport returns a transport without a network: what is sent to the addresses of the
// provider that the server plays goes to the server, at once and in the caller's own
// goroutine. So it works in a bubble of testing/synctest. Every other address answers
// 404.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	path, known := "", false
	if t.s.play != nil {
		path, known = t.s.play.route(req.URL.String())
	}
	w := &recorder{header: http.Header{}}
	target, err := url.Parse(path)
	if known && err == nil {
		in.Host, in.URL, in.RequestURI = req.URL.Host, target, path
		if err := w.serve(t.s, in); err != nil {
			return nil, err
		}
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w.header.Set("Date", t.s.now().UTC().Format(http.TimeFormat))
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len())}, nil
}

// recorder is an [http.ResponseWriter] that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// serve lets a handler answer. A handler that aborts loses the connection.
func (w *recorder) serve(h http.Handler, r *http.Request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			if cause != http.ErrAbortHandler {
				panic(cause)
			}
			err = io.ErrUnexpectedEOF
		}
	}()
	h.ServeHTTP(w, r)
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return nil
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
