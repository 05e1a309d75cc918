package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log"
	"net/http"
	"net/url"
	"sync"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
)

// sessions stands in for your own users' sessions on your server. It keeps the verifiers
// of the links that a user asked for. They never reach a browser.
type sessions struct {
	mu        sync.Mutex
	verifiers map[string]map[string]perennial.Secret // by user, then by connect session
}

const sessionCookie = "product"

// user returns the user of a request, and signs a new one in.
func (s *sessions) user(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(sessionCookie); err == nil && c.Value != "" {
		return c.Value
	}
	id := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode})
	return id
}

func (s *sessions) keep(user, session string, verifier perennial.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verifiers == nil {
		s.verifiers = map[string]map[string]perennial.Secret{}
	}
	if s.verifiers[user] == nil {
		s.verifiers[user] = map[string]perennial.Secret{}
	}
	s.verifiers[user][session] = verifier
}

func (s *sessions) verifier(user, session string) perennial.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verifiers[user][session]
}

// finish stores the grant that the customer's browser comes back with, if it was this
// user who asked for the link. It returns what the customer should read, nil if all is
// well, and leads to a URL without the code.
func (p *product) finish(ctx context.Context, user string, q url.Values) *notice {
	id := q.Get("connect_session")
	_, err := p.tokens.Finish(ctx, client.FinishRequest{Session: id, Code: perennial.NewSecret(q.Get("connect_code")), Verifier: p.users.verifier(user, id)})
	var other *client.ErrOtherUser
	switch {
	case err == nil:
		return nil
	case errors.As(err, &other):
		return &notice{Text: "Nothing was connected: this was started by somebody else, or in another browser. Start again here.", Bad: true}
	}
	log.Printf("finish connect session %s: %v", id, err)
	return &notice{Text: "That is not possible at present. Please reload this page in a minute.", Bad: true}
}
