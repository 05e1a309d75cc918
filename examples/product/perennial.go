package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// api reads the data of the page from Perennial's HTTP API (docs/api.md).
type api struct {
	url  string
	key  perennial.Secret
	http *http.Client
}

func newAPI(url string, key perennial.Secret) *api {
	return &api{url: strings.TrimSuffix(url, "/"), key: key, http: &http.Client{Timeout: 5 * time.Second}}
}

// connection has the members that the page needs.
type connection struct {
	ID      string               `json:"id"`
	App     string               `json:"app"`
	Account string               `json:"account_id"`
	Status  perennial.Status     `json:"status"`
	Health  perennial.Health     `json:"health"`
	Words   perennial.StatusText `json:"words"` // for the customer
}

// app is a provider that the customer can connect.
type app struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

func (a *api) connections(ctx context.Context) ([]connection, error) {
	var out struct{ Connections []connection }
	// No customer of this product has 200 connections; next_cursor would lead on.
	return out.Connections, a.get(ctx, "/v1/connections?limit=200", &out)
}

func (a *api) apps(ctx context.Context) ([]app, error) {
	var out struct{ Apps []app }
	return out.Apps, a.get(ctx, "/v1/apps", &out)
}

func (a *api) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.key.Reveal())
	answer, err := a.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask Perennial: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Perennial: %s: HTTP status %d", path, answer.StatusCode)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
