package catalogue

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signer is a key with its certificate, as an app or a customer has it.
type signer struct {
	public crypto.PublicKey
	text   string // PEM: the certificate and the key
}

func newSigner() signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "perennial"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	return signer{key.Public(), text}
}

// The keys of all apps and of all customers: they take long to make.
var appSigner, customerSigner, otherSigner = newSigner(), newSigner(), newSigner()

// fromCredentials lists the entries whose connections are made without a consent.
func fromCredentials() []string {
	return slices.DeleteFunc(provider.Names(), func(name string) bool { return slices.Contains(consents(), name) })
}

// TestCredentialGrants: a connection of each provider that takes credentials lives as its
// sources promise.
func TestCredentialGrants(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	require.Len(t, fromCredentials(), 5)
	for _, name := range fromCredentials() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := lookup(name)
			require.NoError(t, err)
			for _, found := range run(t, database, k, k.entry, credentialScenarios) {
				assert.Fail(t, found)
			}
		})
	}
}

// TestCredentialMistakes: a mistake in how an entry makes its requests, or in what it
// takes a refusal for, is noticed by a connection's life there.
func TestCredentialMistakes(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	for mistake, change := range map[string]func(e *provider.Entry){
		"zoom-account/the account is not sent":              func(e *provider.Entry) { e.RefreshParams = nil },
		"zoom-account/another grant_type":                   func(e *provider.Entry) { e.GrantType = "" },
		"google-service-account/another issuer":             func(e *provider.Entry) { e.Assertion.Issuer = "" },
		"google-service-account/another audience":           func(e *provider.Entry) { e.Assertion.Audience = "https://accounts.google.com" },
		"salesforce-jwt/no subject":                         func(e *provider.Entry) { e.Assertion.Subject = "" },
		"microsoft-app/the client's id alone":               func(e *provider.Entry) { e.AuthStyle = provider.AuthStyleNone },
		"github-app/a signed grant in the form":             func(e *provider.Entry) { e.Grant = provider.GrantJWTBearer },
		"github-app/an uninstalled app is a wrong endpoint": func(e *provider.Entry) { e.Spellings = e.Spellings[2:] },
		"microsoft-app/a directory without the app is ours": func(e *provider.Entry) { e.Spellings = nil },
	} {
		t.Run(mistake, func(t *testing.T) {
			t.Parallel()
			name, _, _ := strings.Cut(mistake, "/")
			k, err := lookup(name)
			require.NoError(t, err)
			wrong := k.entry
			change(&wrong)
			assert.NotEmpty(t, run(t, database, k, wrong, credentialScenarios))
		})
	}
}

var credentialScenarios = []scenario{
	{"life", credentialLife},
	{"lost-reply", credentialLostReply},
	{"revoked", credentialRevoked},
	{"wrong-client", credentialWrongClient},
	{"rate-limited", credentialRateLimited},
}

// customer returns what the n-th customer of an app gives, and the account that it names.
func (w *world) customer(app string, n int) (given map[string]string, account string) {
	given = map[string]string{}
	for _, name := range w.known.entry.Credentials {
		given[name] = fmt.Sprintf("%s-%s-%d", name, app, n)
	}
	if _, ok := given["private_key"]; ok {
		given["private_key"] = customerSigner.text
	}
	for name := range strings.SplitSeq(w.known.entry.Account.Name, "|") {
		if account = given[name]; account != "" {
			break
		}
	}
	return given, account
}

// gives connects the n-th customer of an app with credentials.
func (w *world) gives(app string, n int) perennial.Connection {
	given, account := w.customer(app, n)
	c := fakeprovider.Customer{Credentials: map[string]string{}}
	for name, value := range given {
		if c.Credentials[name] = value; name == "private_key" {
			c.Key = customerSigner.public
			delete(c.Credentials, name)
		}
	}
	must(w.server.AddCustomer("client-"+app, account, c, appSigner.public))
	raw, err := json.Marshal(given)
	must(err)
	con, err := w.service.Connect(w.ctx, perennial.WorkerAccess(), connect.Grant{Tenant: tenant, App: app, Account: account, Host: w.host(n), Credentials: perennial.NewSecret(string(raw))})
	wantNo(err, "connect with credentials")
	return con
}

// has wants the stored access token to be one that the provider accepts, and the
// credentials to be those that were given.
func (w *world) has(c, before perennial.Connection) {
	want(w.server.Accepts(w.token(c, seal.FieldAccessToken).Reveal()), "the stored access token is none that the provider accepts")
	want(c.RefreshTokenDigest == before.RefreshTokenDigest, "the credentials have changed")
}

func credentialLife(w *world, app string) {
	first := w.gives(app, 1)
	w.has(first, first)
	c := first
	for range 4 {
		res := w.step(c.ID)
		want(res.Outcome == perennial.OutcomeRefreshed, "a request brings %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
		row := w.row(c.ID)
		want(row.Generation == c.Generation+1 && time.Now().Before(c.ExpiresAt), "generation %d follows %d", row.Generation, c.Generation)
		c = row
		w.has(c, first)
	}
}

func credentialLostReply(w *world, app string) {
	c := w.gives(app, 1)
	w.adjust(c, func(k *fakeprovider.Knobs) { k.DropAfter = 1 })
	want(w.step(c.ID).Outcome == perennial.OutcomeUnknown, "the reply is not lost")
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "it is lost: %s", w.row(c.ID).Reason)
	w.has(w.row(c.ID), c)
}

func credentialRevoked(w *world, app string) {
	c, other := w.gives(app, 1), w.gives(app, 2)
	must(w.server.Revoke("client-"+app, c.AccountID))
	res := w.settles(c.ID)
	want(res.Connection.Status == perennial.StatusReconnectRequired && res.Connection.Reason == perennial.ReasonCredentials, "it is %s for %q (%s)", res.Connection.Status, res.Connection.Reason, res.Code)
	want(w.settles(other.ID).Outcome == perennial.OutcomeRefreshed, "another customer is not served")
}

// credentialWrongClient makes the app's own key wrong. No customer is accused.
func credentialWrongClient(w *world, app string) {
	if w.known.entry.CustomersClient() {
		return
	}
	c := w.gives(app, 1)
	w.server.SetKeys("client-"+app, otherSigner.public)
	for range 5 {
		res := w.step(c.ID)
		want(res.Outcome == perennial.OutcomeMisconfigured, "a wrong key is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
		want(res.Connection.Status == perennial.StatusActive && perennial.FaultOf(res.Connection.FailingCode) != perennial.FaultGrant, "%s accuses the customer", res.Connection.FailingCode)
	}
	w.server.SetKeys("client-"+app, appSigner.public)
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "with the right key it is not served")
}

func credentialRateLimited(w *world, app string) {
	c := w.gives(app, 1)
	time.Sleep(w.rest(c))
	w.server.Limit("client-"+app, c.AccountID, limit)
	until := time.Now().Add(limit)
	res := w.refresh(c, perennial.TriggerTimer)
	want(res.Outcome == perennial.OutcomeRateLimited, "a limit is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed && !time.Now().Before(until), "the limit is not kept")
}

// twice is a transport that sends each request a second time, and gives the second answer.
type twice struct{ next http.RoundTripper }

func (t twice) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var resp *http.Response
	for range 2 {
		again := req.Clone(req.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		if resp, err = t.next.RoundTrip(again); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// TestSignedTokensAreGoodOnce: the fake provider refuses a signed token that it has seen.
func TestSignedTokensAreGoodOnce(t *testing.T) {
	t.Parallel()
	k, err := lookup("google-service-account")
	require.NoError(t, err)
	play, err := fakeprovider.NewPlay(k.entry, k.file)
	require.NoError(t, err)
	server, err := fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{"client": {}}, Play: play})
	require.NoError(t, err)
	require.NoError(t, server.AddCustomer("client", "robot", fakeprovider.Customer{Credentials: map[string]string{"client_email": "robot"}, Key: customerSigner.public}))
	raw, err := json.Marshal(map[string]string{"client_email": "robot", "private_key": customerSigner.text})
	require.NoError(t, err)
	given, _, err := provider.ParseCredentials(perennial.NewSecret(string(raw)), k.entry)
	require.NoError(t, err)
	app := provider.App{Name: "app", Provider: k.entry, Scopes: []string{"read"}}
	for transport, want := range map[http.RoundTripper]perennial.Outcome{server.Transport(): perennial.OutcomeRefreshed, twice{server.Transport()}: perennial.OutcomeRevoked} {
		client := provider.NewClient(provider.ClientConfig{Transport: transport})
		reply := client.Refresh(t.Context(), app, perennial.Secret{}, given, func(context.Context) error { return nil })
		assert.Equal(t, want, reply.Outcome, reply.Code)
	}
}
