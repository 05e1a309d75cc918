package wiring

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/connect"
)

// PagesPath is the path of the pages on which customers connect and reconnect.
const PagesPath = "/connect/"

// links makes connect links and serves their pages.
type links struct {
	sessions *connect.Sessions // nil: connect.base_url is not configured, and no page exists
	pages    http.Handler
	close    func()
}

func openLinks(ctx context.Context, deps *Deps, service *connect.Service) (*links, error) {
	if deps.Config.Connect.BaseURL == "" {
		return &links{pages: http.NotFoundHandler(), close: func() {}}, nil
	}
	sessions, err := deps.Sessions(service)
	if err != nil {
		return nil, err
	}
	pages, err := deps.ConnectPages(sessions)
	if err != nil {
		return nil, err
	}
	return &links{sessions: sessions, pages: pages, close: finishing(ctx, deps, sessions)}, nil
}

// clientDocument serves the document of a client whose id is the document's URL.
func (d *Deps) clientDocument(w http.ResponseWriter, r *http.Request) {
	if d.discovery == nil {
		http.NotFound(w, r)
		return
	}
	doc, ok := d.discovery.Document(r.PathValue("app"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=300")
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		d.Log.Warn("the document of a client was not sent", "error", err)
	}
}

const (
	finishEvery   = 5 * time.Second
	finishLimit   = 100
	finishTimeout = time.Minute // for one round: it may ask a provider for the account of a grant
)

// finishing stores the grants that a crash or a silent provider left unfinished. Its
// stop function waits for its end.
func finishing(ctx context.Context, deps *Deps, sessions *connect.Sessions) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(finishEvery)
		defer tick.Stop()
		for failing := false; ; {
			round, end := context.WithTimeout(ctx, finishTimeout)
			_, err := sessions.FinishAll(round, finishLimit)
			end()
			if err != nil && !failing && ctx.Err() == nil { // log it once: it lasts as long as an outage
				deps.Log.Error("connects that were cut off are not finished at present", "error", err)
			}
			failing = err != nil
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() { cancel(); done.Wait() }
}
