package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/words"
)

// linking is a backend for the examples that makes links, as package direct and package
// remote do.
type linking struct{ *memory }

func (l linking) Connect(_ context.Context, req client.ConnectRequest) (client.ConnectSession, error) {
	return client.ConnectSession{ID: "cs_1", Link: words.NewSecret("https://connect.example/connect/cl_8a1f"), App: req.App}, nil
}

func (l linking) Reconnect(_ context.Context, id string, _ client.ReconnectRequest) (client.ConnectSession, error) {
	if id != "con_1" {
		return client.ConnectSession{}, words.Errorf(words.CodeNotFound, "there is no connection %q", id)
	}
	return client.ConnectSession{ID: "cs_2", Link: words.NewSecret("https://connect.example/connect/cl_b7c0"), Connection: id}, nil
}

func (l linking) Session(context.Context, string) (client.ConnectSession, error) {
	return client.ConnectSession{ID: "cs_1", App: "hubspot", Connection: "con_1", Outcome: words.ConnectConnected}, nil
}

func (l linking) Finish(_ context.Context, req client.FinishRequest) (client.ConnectSession, error) {
	return client.ConnectSession{ID: req.Session, App: "hubspot", Connection: "con_1", Outcome: words.ConnectConnected}, nil
}

func (l linking) Disconnect(context.Context, string) (words.Revocation, error) {
	l.states.Status = words.StatusDisconnected
	return words.RevocationDone, nil
}

func exampleLinks() *client.Client {
	_, m := example()
	c, err := client.New(client.Config{Backend: linking{m}})
	if err != nil {
		panic(err)
	}
	return c
}

// One call makes a link. When the customer is back, the session has the result,
// whatever the browser sent.
func ExampleClient_Connect() {
	c := exampleLinks()
	defer c.Close()
	ctx := context.Background()
	s, err := c.Connect(ctx, client.ConnectRequest{App: "hubspot", ReturnURL: "https://app.example/settings", TenantTitle: "Acme Inc."})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Link) // a log does not show it
	fmt.Println("send the customer to", s.Link.Reveal())

	back, err := c.Session(ctx, s.ID) // connect_session of the return URL
	if err != nil {
		panic(err)
	}
	fmt.Println(back.Outcome, back.Connection)
	fmt.Println(words.DescribeConnect(back.Outcome, "HubSpot").Label)
	// Output:
	// [redacted]
	// send the customer to https://connect.example/connect/cl_8a1f
	// connected con_1
	// HubSpot is connected
}

// A signed-in user connects an account: one call makes the link, another one stores the
// grant when the same user's browser is back.
func ExampleClient_ConnectBound() {
	c := exampleLinks()
	defer c.Close()
	verifiers := map[string]words.Secret{} // part of the user's own session, on your server
	pages := http.NewServeMux()
	pages.HandleFunc("POST /connect", func(w http.ResponseWriter, r *http.Request) {
		s, verifier, err := c.ConnectBound(r.Context(), client.ConnectRequest{App: "hubspot", ReturnURL: "https://app.example/settings"})
		if err != nil {
			http.Error(w, "Try again in a minute.", http.StatusServiceUnavailable)
			return
		}
		verifiers[s.ID] = verifier
		http.Redirect(w, r, s.Link.Reveal(), http.StatusSeeOther)
	})
	pages.HandleFunc("GET /settings", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("connect_session")
		s, err := c.Finish(r.Context(), client.FinishRequest{Session: id, Code: words.NewSecret(r.FormValue("connect_code")), Verifier: verifiers[id]})
		var other *client.ErrOtherUser
		switch {
		case errors.As(err, &other):
			http.Error(w, "Somebody else started this. Nothing was connected.", http.StatusForbidden)
		case err != nil:
			http.Error(w, "Reload this page in a minute.", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, words.DescribeConnect(s.Outcome, "HubSpot").Label)
		}
	})
	pages.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/connect", nil))
	for _, session := range []string{"cs_1", "cs_of_somebody_else"} {
		answer := httptest.NewRecorder()
		pages.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/settings?connect_session="+session+"&connect_code=fc_1", nil))
		fmt.Println(answer.Code, strings.TrimSpace(answer.Body.String()))
	}
	// Output:
	// 200 HubSpot is connected
	// 403 Somebody else started this. Nothing was connected.
}

// The page at connect.reconnect_url makes a link when the signed-in customer asks for
// it.
func ExampleClient_Reconnect() {
	c := exampleLinks()
	defer c.Close()
	pages := http.NewServeMux()
	pages.HandleFunc("POST /settings/connections/{id}/reconnect", func(w http.ResponseWriter, r *http.Request) {
		s, err := c.Reconnect(r.Context(), r.PathValue("id"), client.ReconnectRequest{ReturnURL: "https://app.example/settings"})
		var missing *client.ErrNotFound
		switch {
		case errors.As(err, &missing):
			http.NotFound(w, r)
		case err != nil:
			http.Error(w, "Try again in a minute.", http.StatusServiceUnavailable)
		default:
			http.Redirect(w, r, s.Link.Reveal(), http.StatusSeeOther)
		}
	})
	for _, id := range []string{"con_1", "con_2"} {
		answer := httptest.NewRecorder()
		pages.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/settings/connections/"+id+"/reconnect", nil))
		fmt.Println(answer.Code, answer.Header().Get("Location"))
	}
	// Output:
	// 303 https://connect.example/connect/cl_b7c0
	// 404
}

func ExampleClient_Disconnect() {
	c := exampleLinks()
	defer c.Close()
	revocation, err := c.Disconnect(context.Background(), "con_1")
	if err != nil {
		panic(err)
	}
	switch revocation {
	case words.RevocationDone, words.RevocationNone:
		fmt.Println("nothing is left of it")
	default: // failed, unsupported
		fmt.Println("ask the customer to remove the access at the provider")
	}
	_, err = c.Token(context.Background(), "con_1")
	fmt.Println(err)
	// Output:
	// nothing is left of it
	// connection con_1 was disconnected: connect the account again
}
