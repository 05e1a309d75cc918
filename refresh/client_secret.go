package refresh

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// codeSecretTrial is the code of an attempt that waits until another connection has found
// out which client secret the provider accepts.
const codeSecretTrial = "client_secret_trial"

const (
	// secretFresh is for how long a process believes what it has read about an app's
	// client secrets.
	secretFresh = 30 * time.Second
	// secretPatience bounds each question about them. Without an answer the configured
	// order counts.
	secretPatience = 2 * time.Second
)

// secretMemory has what this process knows about the client secrets of apps with several.
// The zero value is empty.
type secretMemory struct {
	mu    sync.Mutex
	known map[string]knownSecret
}

type knownSecret struct {
	store.ClientSecret
	read time.Time
}

func (m *secretMemory) get(app string) (knownSecret, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.known[app]
	return k, !k.read.IsZero() && time.Since(k.read) < secretFresh && k.TrialBy == ""
}

func (m *secretMemory) set(app string, s store.ClientSecret) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]knownSecret{}
	}
	m.known[app] = knownSecret{s, time.Now()}
}

// secretsInOrder returns the app's client secrets, the accepted one first. ok is false
// while another connection tries them: to present now would risk a token for a fact that is
// about to be known.
func (a *attempt) secretsInOrder(ctx context.Context) (secrets []perennial.Secret, ok bool) {
	secrets = a.app.Secrets()
	if len(secrets) < 2 {
		return secrets, true
	}
	k, fresh := a.secrets.get(a.app.Name)
	if !fresh {
		readCtx, cancel := context.WithTimeout(ctx, secretPatience)
		defer cancel()
		known, err := a.Store.ClientSecret(readCtx, a.app.Name)
		if err != nil {
			a.log.Warn("it is not known which client secret is accepted: they are tried in their order", "error", err)
			known = store.ClientSecret{Digest: k.Digest}
		}
		a.secrets.set(a.app.Name, known)
		k.ClientSecret = known
	}
	if k.TrialBy != "" && k.TrialBy != a.row.ID && k.TrialFor < a.Timing.AttemptDeadline {
		return nil, false
	}
	return a.app.Prefer(k.Digest).Secrets(), true
}

// secretTrial is a trial of an app's other client secrets by one connection.
type secretTrial struct {
	accepted string // digest of the accepted secret; empty: none was, or that is unknown
}

// tryOtherSecrets is called after the provider has rejected the first secret. If another
// connection has found out meanwhile which one is accepted, that one is presented. Else
// one connection tries the others: the app's canary. The others wait for the result.
func (a *attempt) tryOtherSecrets(ctx context.Context, secrets []perennial.Secret, token perennial.Secret, rejected provider.Reply) provider.Reply {
	digests := make([]string, len(secrets))
	for i, s := range secrets {
		digests[i] = s.Digest()
	}
	askCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), secretPatience)
	defer cancel()
	trial, err := a.Store.BeginSecretTrial(askCtx, store.SecretTrialRequest{Connection: a.row, Rejected: digests[0], Configured: digests,
		Bare: rejected.Outcome == perennial.OutcomeRejected, Lease: a.Timing.AttemptDeadline})
	switch {
	case err != nil:
		a.log.Warn("no other client secret is tried", "error", err)
		return rejected
	case trial.Busy:
		a.secrets.set(a.app.Name, store.ClientSecret{Digest: digests[0], TrialBy: "another"})
		return provider.Reply{Outcome: perennial.OutcomeThrottled, Code: codeSecretTrial, Sent: true, HTTPStatus: rejected.HTTPStatus}
	case trial.Digest != "":
		a.secrets.set(a.app.Name, store.ClientSecret{Digest: trial.Digest})
		return a.presentWith(ctx, a.app.Prefer(trial.Digest).Secrets()[0], token, 1)
	case !trial.Granted:
		return rejected
	}
	a.trial = &secretTrial{}
	a.secrets.set(a.app.Name, store.ClientSecret{Digest: digests[0], TrialBy: a.row.ID}) // others of this process wait at once
	return a.trySecrets(ctx, secrets[1:], digests[1:], token, rejected)
}

// trySecrets presents the token with each secret until one is accepted.
func (a *attempt) trySecrets(ctx context.Context, secrets []perennial.Secret, digests []string, token perennial.Secret, reply provider.Reply) provider.Reply {
	requests := 1
	for i, secret := range secrets {
		if a.asksWithMadeUp() {
			answer := a.presentWith(ctx, secret, madeUpToken(), requests)
			requests++
			switch {
			case a.gaveUp || a.missed || answer.Outcome == perennial.OutcomeRateLimited:
				return answer
			case answer.ClientRejected():
				reply = answer
				continue
			case answer.Outcome == perennial.OutcomeRevoked:
				a.trial.accepted = digests[i]
			}
		}
		reply = a.presentWith(ctx, secret, token, requests)
		requests++
		if a.gaveUp || a.missed || !reply.ClientRejected() {
			if reply.Outcome == perennial.OutcomeRefreshed || reply.Outcome == perennial.OutcomeRevoked {
				a.trial.accepted = digests[i]
			}
			return reply
		}
	}
	return reply
}

// asksWithMadeUp reports whether a refresh token that never was a real one tells whether
// the provider accepts a client secret, at no cost. It does if the provider checks the
// client first. Where a refused token costs something, none is made up.
func (a *attempt) asksWithMadeUp() bool {
	e := a.app.Provider
	return e.ChecksClientFirst && !e.Grant.FromCredentials() && e.Renewal == provider.RenewalRefreshToken && e.ReplayClass != perennial.ReplayReuseRevokes
}

// madeUpToken returns a refresh token that no provider has ever given out: 160 random
// bits that nobody else knows.
func madeUpToken() perennial.Secret { return perennial.NewSecret("made-up-" + rand.Text()) }

// endTrial tells the result of a trial to the other connections.
func (a *attempt) endTrial(ctx context.Context) {
	if a.trial == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), secretPatience)
	defer cancel()
	if err := a.Store.EndSecretTrial(ctx, a.row, a.trial.accepted); err != nil {
		a.log.Warn("which client secret is accepted is not written down; another connection tries again", "error", err)
		return
	}
	if a.trial.accepted != "" {
		a.secrets.set(a.app.Name, store.ClientSecret{Digest: a.trial.accepted})
		a.log.Info("the provider accepts another of the app's client secrets; it is used first from now on")
	}
}
