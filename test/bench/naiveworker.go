package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/oauth2"
	"gorm.io/gorm"
)

const naiveCommand = "_naive"

// naiveWorkflow sleeps, refreshes, and sleeps again. It continues as new when the
// server suggests it.
func naiveWorkflow(ctx workflow.Context, id string, due time.Time) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for !workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
		if err := workflow.Sleep(ctx, due.Sub(workflow.Now(ctx))); err != nil {
			return err
		}
		var a *naiveActivities
		if err := workflow.ExecuteActivity(ctx, a.Refresh, id).Get(ctx, &due); err != nil {
			return err
		}
	}
	return workflow.NewContinueAsNewError(ctx, naiveWorkflow, id, due)
}

type naiveActivities struct {
	db    *gorm.DB
	oauth oauth2.Config

	mu   sync.Mutex
	late []lateRefresh
}

type lateRefresh struct {
	at time.Time
	by time.Duration
}

// Refresh reads the row, presents the refresh token and stores the reply. It returns
// when the next refresh is due.
func (a *naiveActivities) Refresh(ctx context.Context, id string) (time.Time, error) {
	var row naiveRow
	if err := a.db.WithContext(ctx).First(&row, "id = ?", id).Error; err != nil {
		return time.Time{}, fmt.Errorf("read connection %s: %w", id, err)
	}
	start := time.Now()
	a.note(start, start.Sub(row.NextRefreshAt))
	token, err := a.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: row.RefreshToken}).Token()
	if err != nil {
		return time.Time{}, fmt.Errorf("refresh connection %s: %w", id, err)
	}
	row.Generation++
	next := naiveDue(row, start, token.Expiry.Sub(start).Round(time.Second))
	err = a.db.WithContext(ctx).Model(&naiveRow{}).Where("id = ?", id).Updates(map[string]any{"access_token": token.AccessToken, "refresh_token": token.RefreshToken,
		"generation": row.Generation, "expires_at": token.Expiry, "next_refresh_at": next}).Error
	if err != nil {
		return time.Time{}, fmt.Errorf("save connection %s: %w", id, err)
	}
	return next, nil
}

// naiveDue uses the product's rule, so that every variant refreshes equally often.
func naiveDue(row naiveRow, start time.Time, life time.Duration) time.Time {
	return timing.Due(start, life, provider.BufferQueue, row.ID, row.Generation)
}

func (a *naiveActivities) note(at time.Time, by time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = append(a.late, lateRefresh{at, by})
}

// lateness answers in milliseconds.
func (a *naiveActivities) lateness(w http.ResponseWriter, r *http.Request) {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []float64{}
	for _, l := range a.late {
		if !l.at.Before(since) {
			out = append(out, float64(l.by.Microseconds())/1000)
		}
	}
	respond(w, out)
}

// runNaive runs the worker process of the naive variant.
func runNaive(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(naiveCommand, flag.ContinueOnError)
	listen := flags.String("listen", "", "address")
	database := flags.String("database", "", "URL")
	temporal := flags.String("temporal", "", "address")
	tokenURL := flags.String("token-url", "", "of the provider")
	cache := flags.Int("cache", 0, "workflows in memory; 0: the SDK's default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	db, err := openNaive(*database)
	if err != nil {
		return err
	}
	c, err := client.DialContext(ctx, client.Options{HostPort: *temporal, Logger: sdklog.NewStructuredLogger(quiet)})
	if err != nil {
		return err
	}
	defer c.Close()
	if *cache > 0 {
		worker.SetStickyWorkflowCacheSize(*cache)
	}
	a := &naiveActivities{db: db, oauth: oauth2.Config{ClientID: clientID, ClientSecret: clientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: *tokenURL, AuthStyle: oauth2.AuthStyleInHeader}}}
	w := worker.New(c, taskQueue, worker.Options{})
	w.RegisterWorkflow(naiveWorkflow)
	w.RegisterActivity(a)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	registry := prometheus.NewRegistry()
	metrics.RegisterProcess(registry)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /lateness", a.lateness)
	return serve(ctx, *listen, mux)
}
