package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
)

const (
	providerCommand = "_provider"
	appName         = "bench"
	clientID        = "bench-client"
	clientSecret    = "bench-secret"
)

// consents is a request to the provider's process for many grants at once: the
// accounts, and the lifetimes of each one's first tokens.
type consents struct {
	Accounts  []string    `json:"accounts"`
	Lifetimes [][]float64 `json:"lifetimes"`
}

// books are the provider's own counts.
type books struct {
	Refreshes int `json:"refreshes"` // successful ones
	Requests  int `json:"requests"`
	// Most is the largest number of requests in one second, since the time in the
	// request.
	Most int `json:"most"`
	// Young counts the grants that have not used all of their first lifetimes.
	Young int `json:"young"`
}

// serveProvider runs the fake provider in a process of its own, with two endpoints for
// bench.
func serveProvider(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(providerCommand, flag.ContinueOnError)
	listen := flags.String("listen", "", "address")
	raw := flags.String("knobs", "{}", "of the client")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var knobs fakeprovider.Knobs
	if err := json.Unmarshal([]byte(*raw), &knobs); err != nil {
		return err
	}
	server, err := fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{clientID: {Secrets: []string{clientSecret}, Knobs: knobs}}})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	first := map[string]int{} // number of lifetimes of each account
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.HandleFunc("POST /_bench/consents", func(w http.ResponseWriter, r *http.Request) {
		var c consents
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		out := make([]fakeprovider.TokenReply, len(c.Accounts))
		for i, account := range c.Accounts {
			out[i], err = server.Grant(clientID, account)
			if err == nil && len(c.Lifetimes[i]) > 0 {
				first[account] = len(c.Lifetimes[i])
				err = server.Adjust(clientID, account, func(k *fakeprovider.Knobs) { k.Lifetimes = c.Lifetimes[i] })
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		respond(w, out)
	})
	mux.HandleFunc("GET /_bench/books", func(w http.ResponseWriter, r *http.Request) {
		since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		o := server.Oracle()
		b := books{Refreshes: o.Refreshes, Requests: o.TokenRequests}
		_, b.Most = server.Requests(clientID, since, time.Now())
		for _, g := range o.Grants {
			if g.Refreshes < first[g.Account] {
				b.Young++
			}
		}
		respond(w, b)
	})
	return serve(ctx, *listen, mux)
}

// providerProcess is the provider as the driver sees it.
type providerProcess struct{ *process }

func (p providerProcess) books(ctx context.Context, since time.Time) (b books, err error) {
	return b, p.get(ctx, "/_bench/books?since="+since.UTC().Format(time.RFC3339Nano), &b)
}

func (p providerProcess) consents(ctx context.Context, c consents) (out []fakeprovider.TokenReply, err error) {
	return out, p.post(ctx, "/_bench/consents", c, &out)
}

// knobs sets the client's knobs. Grants with knobs of their own keep those.
func (p providerProcess) knobs(ctx context.Context, k fakeprovider.Knobs) error {
	return p.post(ctx, "/_control/knobs", map[string]any{"client": clientID, "knobs": k}, nil)
}

// grantKnobs sets the knobs of one account's grant.
func (p providerProcess) grantKnobs(ctx context.Context, account string, k fakeprovider.Knobs) error {
	return p.post(ctx, "/_control/knobs", map[string]any{"client": clientID, "account": account, "knobs": k}, nil)
}

func (p providerProcess) post(ctx context.Context, path string, body, out any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return answer(req, out)
}
