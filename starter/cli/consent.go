package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
)

// consents asks the person at the terminal for consents: it shows the link and takes the
// code, which comes to the redirect URI on this machine, or is pasted.
type consents struct {
	app      provider.App
	redirect string
	in       *bufio.Reader
	say      io.Writer
}

func (s *shell) consents(app provider.App, redirect string) consents {
	return consents{app: app, redirect: redirect, in: bufio.NewReader(io.LimitReader(s.in, 1<<20)), say: printable.NewWriter(s.errOut)}
}

// consentTime is how long a person may take to agree.
const consentTime = 10 * time.Minute

// code returns the code of one consent.
func (c consents) code(ctx context.Context) (code provider.AuthorizationCode, err error) {
	state := rand.Text()
	code.Verifier, code.RedirectURI = perennial.NewSecret(rand.Text()+rand.Text()), c.redirect // 52 characters (RFC 7636: 43 to 128)
	link, err := c.app.AuthorizationURL(c.redirect, state, code.Verifier, c.app.Scopes)
	if err != nil {
		return code, err
	}
	ctx, cancel := context.WithTimeout(ctx, consentTime)
	defer cancel()
	back, err := c.answer(ctx, link, state)
	if err != nil {
		return code, err
	}
	if host, listed := c.app.NamedHost(back); listed && host != c.app.Provider.Host() {
		return code, perennial.Errorf(perennial.CodeInvalid, "the account is at another host: say --host %s", host)
	}
	code.Code = perennial.NewSecret(back.Get("code"))
	return code, nil
}

// answer shows the link and returns the parameters of the authorization response.
func (c consents) answer(ctx context.Context, link, state string) (url.Values, error) {
	target, err := url.Parse(c.redirect)
	if err != nil || target.Host == "" {
		return nil, perennial.Errorf(perennial.CodeInvalid, "--redirect-uri must be a whole address, as it is registered at the provider")
	}
	if target.Scheme != "http" || !isLocal(target.Hostname()) {
		fmt.Fprintf(c.say, "Open this link and agree:\n\n  %s\n\nThen paste the address to which the browser came, and press return:\n", link)
		return c.pasted(ctx, state)
	}
	return c.listened(ctx, target, link, state)
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// pasted reads the address from the terminal.
func (c consents) pasted(ctx context.Context, state string) (url.Values, error) {
	lines := make(chan string, 1)
	go func() { // a terminal cannot be told to stop: an interrupted program leaves it waiting
		line, _ := c.in.ReadString('\n') // the end of the input is an empty line
		lines <- strings.TrimSpace(line)
	}()
	var line string
	select {
	case line = <-lines:
	case <-ctx.Done():
		return nil, perennial.Errorf(perennial.CodeUnavailable, "nobody agreed: %w", ctx.Err())
	}
	if line == "" {
		return nil, perennial.Errorf(perennial.CodeInvalid, "no address was pasted")
	}
	at, err := url.Parse(line)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "that is not an address: paste all of it, from https:// on")
	}
	return c.checked(at.Query(), state)
}

// answered is what came to the redirect URI.
type answered struct {
	back url.Values
	err  error
}

// listened waits for the browser at the redirect URI.
func (c consents) listened(ctx context.Context, target *url.URL, link, state string) (url.Values, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address(target))
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "listen at %s, to which the browser is to come: %w", c.redirect, err)
	}
	answers := make(chan answered, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: c.page(target.EscapedPath(), state, answers)}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // lets the page reach the browser
	}()
	fmt.Fprintf(c.say, "Open this link and agree:\n\n  %s\n\nThis program waits at %s.\n", link, c.redirect)
	select {
	case a := <-answers:
		return a.back, a.err
	case <-ctx.Done():
		return nil, perennial.Errorf(perennial.CodeUnavailable, "nobody agreed: %w", ctx.Err())
	}
}

// page answers the browser, and takes the first answer to this link.
func (c consents) page(path, state string, answers chan<- answered) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || strings.TrimSuffix(r.URL.EscapedPath(), "/") != strings.TrimSuffix(path, "/") {
			http.NotFound(w, r)
			return
		}
		back, err := c.checked(r.URL.Query(), state)
		if err != nil {
			http.Error(w, "This answer is not used. The terminal says why.", http.StatusBadRequest)
		} else {
			fmt.Fprintln(w, "Thank you. The terminal goes on; you can close this page.")
		}
		if r.URL.Query().Get("state") != state {
			return // of another request: it ends nothing
		}
		select {
		case answers <- answered{back, err}:
		default:
		}
	}
}

// address returns where to listen for a redirect URI.
func address(target *url.URL) string {
	if target.Port() == "" {
		return net.JoinHostPort(target.Hostname(), "80")
	}
	return target.Host
}

// checked returns an authorization response that has a code for this request (RFC 6749
// section 4.1.2, RFC 9207).
func (c consents) checked(back url.Values, state string) (url.Values, error) {
	e := c.app.Provider
	switch iss := back.Get("iss"); {
	case subtle.ConstantTimeCompare([]byte(back.Get("state")), []byte(state)) != 1:
		return nil, perennial.Errorf(perennial.CodeInvalid, "the answer is not for this link: its state is another one")
	case e.Issuer != "" && (iss != "" || e.IssuerSent) && iss != e.Issuer:
		return nil, perennial.Errorf(perennial.CodeInvalid, "the answer is from another server: its iss is not the issuer of the description")
	case back.Get("error") != "":
		return nil, perennial.Errorf(perennial.CodeInvalid, "the provider answers the link with %q", short(back.Get("error")))
	case back.Get("code") == "":
		return nil, perennial.Errorf(perennial.CodeInvalid, "the answer has no code")
	}
	return back, nil
}

// short bounds a text of a provider's.
func short(s string) string { return s[:min(len(s), 80)] }

// exchange returns the tokens of one consent.
func (c consents) exchange(ctx context.Context, client *provider.Client) (perennial.TokenSet, error) {
	code, err := c.code(ctx)
	if err != nil {
		return perennial.TokenSet{}, err
	}
	reply := client.Exchange(ctx, c.app, c.app.Secrets()[0], code)
	if reply.Outcome != perennial.OutcomeRefreshed {
		return perennial.TokenSet{}, perennial.Errorf(perennial.CodeInvalid, "the code was answered with %s (HTTP status %d, %s)", reply.Outcome, reply.HTTPStatus, reply.Code)
	}
	return reply.Tokens, nil
}
