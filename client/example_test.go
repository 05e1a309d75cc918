package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/words"
)

// memory is a backend for the examples; package direct has the real one.
type memory struct{ states client.TokenState }

func (m *memory) Load(context.Context, string) (client.TokenState, error) {
	h := m.states
	h.Now = time.Now()
	return h, nil
}

func (m *memory) Refresh(context.Context, string, int64) error {
	m.states.Generation++
	m.states.Access = words.NewSecret(fmt.Sprint("token-", m.states.Generation))
	m.states.RefreshedAt, m.states.ExpiresAt = time.Now(), time.Now().Add(30*time.Minute)
	return nil
}

func (m *memory) Note(context.Context, string, client.Note) error { return nil }

func example() (*client.Client, *memory) {
	m := &memory{client.TokenState{Provider: "hubspot", Title: "HubSpot", Account: "portal 62515", Status: words.StatusActive}}
	_ = m.Refresh(context.Background(), "", 0) // never fails here
	c, err := client.New(client.Config{Backend: m})
	if err != nil {
		panic(err)
	}
	return c, m
}

func ExampleClient_Token() {
	c, _ := example()
	defer c.Close()
	token, err := c.Token(context.Background(), "con_1")
	if err != nil {
		panic(err)
	}
	fmt.Println(token.Access, token.Generation, token.Account)
	fmt.Println(token.Access.Reveal())
	// Output:
	// [redacted] 1 portal 62515
	// token-1
}

// If the API says that a token has expired, the client refreshes it and sends the
// request again.
func ExampleClient_HTTPClient() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"category":"EXPIRED_AUTHENTICATION"}`)
		}
	}))
	defer api.Close()
	c, _ := example()
	defer c.Close()
	resp, err := c.HTTPClient("con_1").Get(api.URL + "/crm/v3/objects/contacts")
	if err != nil {
		panic(err)
	}
	fmt.Println(resp.StatusCode, resp.Body.Close())
	// Output:
	// GET Bearer token-1
	// GET Bearer token-2
	// 200 <nil>
}

// Before a write without an idempotency key is sent again, the hook checks whether it
// took effect.
func ExampleTransport_beforeRetry() {
	first := true
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
		if first {
			first = false
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	c, _ := example()
	defer c.Close()
	transport := c.Transport("con_1")
	transport.BeforeRetry = func(r client.Retry) (bool, error) {
		fmt.Println("by rule:", r.ByRule)
		already := false // ask the API whether the contact exists
		return !already, nil
	}
	resp, err := (&http.Client{Transport: transport}).Post(api.URL+"/crm/v3/objects/contacts", "application/json", strings.NewReader("{}"))
	if err != nil {
		panic(err)
	}
	fmt.Println(resp.StatusCode, resp.Body.Close())
	// Output:
	// POST /crm/v3/objects/contacts
	// by rule: false
	// POST /crm/v3/objects/contacts
	// 200 <nil>
}

func ExampleErrReconnectRequired() {
	c, backend := example()
	defer c.Close()
	backend.states.Status, backend.states.Reason = words.StatusReconnectRequired, words.ReasonInvalidGrant
	backend.states.ExpiresAt = time.Now() // nothing is left of it
	backend.states.ReconnectURL = "https://app.example/reconnect/con_1"

	_, err := c.Token(context.Background(), "con_1")
	var reconnect *client.ErrReconnectRequired
	if errors.As(err, &reconnect) {
		fmt.Println(reconnect.Words)
		fmt.Println(reconnect.ReconnectURL)
	}
	// Output:
	// Reconnect needed: access was removed in HubSpot
	// https://app.example/reconnect/con_1
}
