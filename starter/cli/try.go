package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/spf13/cobra"
)

// trying has the flags of provider try.
type trying struct {
	client      clientFlags
	reply       string
	status      int
	code        string
	credentials string
	refresh     bool
	asJSON      bool
}

func (s *shell) providerTry() *cobra.Command {
	var t trying
	cmd := &cobra.Command{Use: "try NAME", Short: "Make one exchange at a provider, and explain how every part of the reply was read", Args: exactly(1),
		Long: "It asks you for a consent, presents its code once, and revokes the grant at the end. It stores nothing, and shows of a token only the length and the beginning of its digest. --reply explains a saved reply, without a network. " + whichDescription,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.try(cmd.Context(), args[0], t)
		}}
	t.client.add(cmd)
	cmd.Flags().StringVar(&t.reply, "reply", "", "explain this file instead: a body, or all that `curl -i` prints; - reads the standard input")
	cmd.Flags().IntVar(&t.status, "status", 200, "with --reply: the HTTP status of a body alone")
	cmd.Flags().StringVar(&t.code, "code", "", "the code of a consent that was asked for without PKCE; - reads it from the standard input")
	cmd.Flags().StringVar(&t.credentials, "credentials", "", "for a grant without a consent: a file with the credentials as JSON; - reads the standard input")
	cmd.Flags().BoolVar(&t.refresh, "refresh", false, "refresh the new grant once, and explain that reply too")
	cmd.Flags().BoolVar(&t.asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) try(ctx context.Context, name string, t trying) error {
	if t.reply != "" {
		return s.trySaved(ctx, name, t)
	}
	app, err := s.client(ctx, name, t.client)
	if err != nil {
		return err
	}
	var seen []provider.Explanation
	client := provider.NewClient(provider.ClientConfig{Explained: func(x provider.Explanation) { seen = append(seen, x) }})
	reply, err := s.tried(ctx, client, app, t)
	if err != nil {
		return err
	}
	if len(seen) == 0 {
		return perennial.Errorf(perennial.CodeUnavailable, "no reply came from %s: %s%s", app.Provider.TokenURL, reply.Code, colon(reply.Description))
	}
	err = s.explained(seen, t.asJSON)
	return errors.Join(err, s.endTried(ctx, client, app, reply))
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// tried asks for tokens once, and refreshes them once if that is wanted.
func (s *shell) tried(ctx context.Context, client *provider.Client, app provider.App, t trying) (reply provider.Reply, err error) {
	secret, now := app.Secrets()[0], func(context.Context) error { return nil }
	switch {
	case app.Provider.Grant.FromCredentials():
		raw, err := s.file(t.credentials, "--credentials: the customer's credentials as JSON are needed, in a file or from the standard input (-)")
		if err != nil {
			return reply, err
		}
		presented, _, err := provider.ParseCredentials(perennial.NewSecret(string(raw)), app.Provider)
		if err != nil {
			return reply, err
		}
		return client.Refresh(ctx, app, secret, presented, now), nil
	case t.code != "":
		reply, err = s.presentCode(ctx, client, app, t)
	default:
		var code provider.AuthorizationCode
		if code, err = s.consents(app, t.client.redirect).code(ctx); err == nil {
			reply = client.Exchange(ctx, app, secret, code)
		}
	}
	if err != nil || !t.refresh || reply.Tokens.RefreshToken.IsZero() {
		return reply, err
	}
	if next := client.Refresh(ctx, app, secret, reply.Tokens.RefreshToken, now); next.Outcome == perennial.OutcomeRefreshed {
		if next.Tokens.RefreshToken.IsZero() {
			next.Tokens.RefreshToken = reply.Tokens.RefreshToken
		}
		return next, nil
	}
	return reply, nil
}

// presentCode exchanges a code that came elsewhere.
func (s *shell) presentCode(ctx context.Context, client *provider.Client, app provider.App, t trying) (provider.Reply, error) {
	code := t.code
	if code == "-" {
		raw, err := s.file("-", "")
		if err != nil {
			return provider.Reply{}, err
		}
		code = strings.TrimSpace(string(raw))
	}
	return client.Exchange(ctx, app, app.Secrets()[0], provider.AuthorizationCode{Code: perennial.NewSecret(code), RedirectURI: t.client.redirect}), nil
}

// maxReply bounds a saved reply, in bytes.
const maxReply = 1 << 20

// file reads a file, or the standard input.
func (s *shell) file(path, missing string) ([]byte, error) {
	from := s.in
	switch path {
	case "":
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s", missing)
	case "-":
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, perennial.Errorf(perennial.CodeInvalid, "read the file: %w", err)
		}
		defer f.Close()
		from = f
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxReply+1))
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "read the file: %w", err)
	}
	if len(raw) > maxReply {
		return nil, perennial.Errorf(perennial.CodeInvalid, "it is longer than %d bytes, and no token reply is", maxReply)
	}
	return raw, nil
}

// trySaved explains a saved reply.
func (s *shell) trySaved(ctx context.Context, name string, t trying) error {
	app, configured, err := s.configuredClient(ctx, name, false)
	if err != nil {
		return err
	}
	if !configured {
		if app.Provider, _, err = s.described(ctx, name); err != nil {
			return err
		}
	}
	raw, err := s.file(t.reply, "")
	if err != nil {
		return err
	}
	return s.explained([]provider.Explanation{provider.ExplainSaved(raw, app, t.status, time.Now())}, t.asJSON)
}

// explained prints explanations.
func (s *shell) explained(all []provider.Explanation, asJSON bool) error {
	if asJSON {
		return s.json(all)
	}
	for i, x := range all {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		if err := s.printExplanation(x); err != nil {
			return err
		}
	}
	return nil
}

func (s *shell) printExplanation(x provider.Explanation) error {
	fmt.Fprintf(s.out, "HTTP status %d, %s, %d bytes: %s\n", x.HTTPStatus, or(x.ContentType, "no content type"), x.Bytes, x.Form)
	if len(x.Members) > 0 {
		table := printable.NewTable(s.out)
		fmt.Fprintln(table, "MEMBER\tVALUE\tREAD AS")
		for _, m := range x.Members {
			fmt.Fprintf(table, "%s\t%s\t%s\n", or(m.Path, "(the whole)"), or(m.Value, `""`), or(m.Read, "- (not read)"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	verdict := string(x.Outcome)
	if x.Code != "" {
		verdict += " (" + x.Code + ")"
	}
	if x.Fault != "" {
		verdict += ", the fault of: " + string(x.Fault)
	}
	fmt.Fprintf(s.out, "Outcome: %s\nBecause: %s\n", verdict, x.Because)
	for _, line := range []struct{ what, says string }{{"It says", x.Says}, {"Account", x.Account}, {"The account does not count", x.Problem},
		{"Retry after", string(x.RetryAfter)}, {"Request id", x.RequestID}} {
		if line.says != "" {
			fmt.Fprintf(s.out, "%s: %s\n", line.what, line.says)
		}
	}
	return nil
}

// endTried revokes the grant of a try.
func (s *shell) endTried(ctx context.Context, client *provider.Client, app provider.App, reply provider.Reply) error {
	token := reply.Tokens.RefreshToken
	if token.IsZero() {
		token = reply.Tokens.AccessToken
	}
	if token.IsZero() || app.Provider.Grant.FromCredentials() {
		return nil
	}
	say := printable.NewWriter(s.errOut)
	if app.Provider.RevokeURL == "" {
		fmt.Fprintf(say, "The provider has no revocation endpoint. Remove the access there: %s\n", or(app.Provider.RemoveAccess, "the description does not say where"))
		return nil
	}
	if err := client.Revoke(context.WithoutCancel(ctx), app, token); err != nil {
		return fmt.Errorf("the grant was not revoked: %w", err)
	}
	fmt.Fprintln(say, "The grant was revoked.")
	return nil
}
