package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The keys of the app and of a customer, once for all tests: they take long to make.
var (
	appRSA, customerRSA = mustRSA(), mustRSA()
	appKey, customerKey = newKey(panics{}, appRSA).both, newKey(panics{}, customerRSA).key
)

func mustRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// panics is a test that cannot go on.
type panics struct{ testing.TB }

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) FailNow()                          { panic("failed") }
func (panics) Helper()                           {}

// given returns credentials for an entry: each has its name in it.
func given(e Entry, with map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range e.Credentials {
		out[name] = "planted-" + name
	}
	if _, ok := out["private_key"]; ok {
		out["private_key"] = customerKey.Reveal()
	}
	for name, v := range with {
		out[name] = v
	}
	return out
}

func asJSON(t testing.TB, v any) perennial.Secret {
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return perennial.NewSecret(string(raw))
}

// sample returns credentials for an entry as they are presented.
func sample(t testing.TB, e Entry, with map[string]string) perennial.Secret {
	presented, _, err := ParseCredentials(asJSON(t, given(e, with)), e)
	require.NoError(t, err)
	return presented
}

// presentedTo returns what is presented to an entry: a client's proof, and a refresh token
// or credentials.
func presentedTo(t testing.TB, e Entry) (secret, token perennial.Secret) {
	if e.Grant.FromCredentials() {
		return appKey, sample(t, e, nil)
	}
	if e.Renewal != RenewalRefreshToken {
		return testSecret, hold(testToken, false)
	}
	return testSecret, testToken
}

// claimsOf verifies a signed token and returns its claims.
func claimsOf(t testing.TB, token string, key *rsa.PrivateKey, alg jose.SignatureAlgorithm) map[string]any {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{alg})
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, parsed.Claims(key.Public(), &claims))
	var times jwt.Claims
	require.NoError(t, parsed.Claims(key.Public(), &times))
	require.NoError(t, times.ValidateWithLeeway(jwt.Expected{Time: time.Now()}, 0))
	require.LessOrEqual(t, times.Expiry.Time().Sub(times.IssuedAt.Time()), 3*time.Minute)
	require.NotEmpty(t, times.ID)
	for _, name := range []string{"iat", "nbf", "exp", "jti"} {
		delete(claims, name)
	}
	return claims
}

// TestGrants: each entry's request is what its provider expects, and its reply is read.
func TestGrants(t *testing.T) {
	t.Parallel()
	const asGrant, asClient = "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	for name, c := range map[string]struct {
		path   string
		with   map[string]string
		verify func(t testing.TB, r *http.Request, at string)
		reply  string
		life   time.Duration
	}{
		"github-app": {"/app/installations/123/access_tokens", map[string]string{"installation_id": "123"}, func(t testing.TB, r *http.Request, _ string) {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			require.True(t, ok)
			assert.Equal(t, map[string]any{"iss": "client id"}, claimsOf(t, token, appRSA, jose.RS256))
			assert.Empty(t, r.PostForm)
		}, `{"token":"planted-access","expires_at":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `","permissions":{"contents":"read"}}`, time.Hour},
		"zoom-account": {"/oauth/token", nil, func(t testing.TB, r *http.Request, _ string) {
			user, password, _ := r.BasicAuth()
			assert.Equal(t, []string{"planted-client_id", "planted-client_secret"}, []string{user, password})
			assert.Equal(t, url.Values{"grant_type": {"account_credentials"}, "account_id": {"planted-account_id"}, "scope": {"a b"}}, r.PostForm)
		}, `{"access_token":"planted-access","token_type":"bearer","expires_in":3600,"scope":"meeting:read"}`, time.Hour},
		"google-service-account": {"/token", map[string]string{"private_key_id": "key-1"}, func(t testing.TB, r *http.Request, _ string) {
			assert.Equal(t, map[string]any{"iss": "planted-client_email", "aud": "https://oauth2.googleapis.com/token", "scope": "a b"}, claimsOf(t, r.PostForm.Get("assertion"), customerRSA, jose.RS256))
			parsed, err := jwt.ParseSigned(r.PostForm.Get("assertion"), []jose.SignatureAlgorithm{jose.RS256})
			require.NoError(t, err)
			assert.Equal(t, "key-1", parsed.Headers[0].KeyID)
			r.PostForm.Del("assertion")
			r.PostForm.Del("client_id")
			assert.Equal(t, url.Values{"grant_type": {asGrant}}, r.PostForm)
		}, `{"access_token":"planted-access","expires_in":3599,"token_type":"Bearer"}`, 3599 * time.Second},
		"google-service-account ": {"/token", map[string]string{"subject": "user@acme.example"}, func(t testing.TB, r *http.Request, _ string) {
			assert.Equal(t, "user@acme.example", claimsOf(t, r.PostForm.Get("assertion"), customerRSA, jose.RS256)["sub"])
		}, `{"access_token":"planted-access","expires_in":3599,"token_type":"Bearer"}`, 3599 * time.Second},
		"salesforce-jwt": {"/services/oauth2/token", map[string]string{"username": "user@acme.example"}, func(t testing.TB, r *http.Request, _ string) {
			assert.Equal(t, map[string]any{"iss": "client id", "sub": "user@acme.example", "aud": "https://login.salesforce.com"}, claimsOf(t, r.PostForm.Get("assertion"), appRSA, jose.RS256))
			assert.Equal(t, asGrant, r.PostForm.Get("grant_type"))
		}, `{"access_token":"planted-access","instance_url":"https://acme.my.salesforce.com","id":"https://login.salesforce.com/id/1/2","token_type":"Bearer"}`, 0},
		"microsoft-app": {"/0a1b-2c/oauth2/v2.0/token", map[string]string{"tenant": "0a1b-2c"}, func(t testing.TB, r *http.Request, at string) {
			assert.Equal(t, map[string]any{"iss": "client id", "sub": "client id", "aud": at + "/0a1b-2c/oauth2/v2.0/token"}, claimsOf(t, r.PostForm.Get("client_assertion"), appRSA, jose.PS256))
			r.PostForm.Del("client_assertion")
			assert.Equal(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {"client id"}, "client_assertion_type": {asClient}, "scope": {"a b"}}, r.PostForm)
		}, `{"access_token":"planted-access","expires_in":3599,"token_type":"Bearer","refresh_token":"planted-second-way"}`, 3599 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var at string
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, r.ParseForm())
				assert.Equal(t, http.MethodPost, r.Method)
				assert.Equal(t, c.path, r.URL.Path)
				c.verify(t, r, at)
				w.WriteHeader(http.StatusCreated)
				fmt.Fprint(w, c.reply)
			}))
			defer server.Close()
			at = server.URL
			e := entry(t, strings.TrimSpace(name))
			u, err := url.Parse(strings.ReplaceAll(e.TokenURL, "{host}", "acme.my.salesforce.com"))
			require.NoError(t, err)
			e.TokenURL = server.URL + u.Path
			a := App{Name: "app", ClientID: "client id", Provider: e, Scopes: []string{"a", "b"}}
			reply := NewClient(ClientConfig{Transport: server.Client().Transport}).Refresh(t.Context(), a, appKey, sample(t, e, c.with), free)
			require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, "%s %s", reply.Code, reply.Description)
			assert.Equal(t, "planted-access", reply.Tokens.AccessToken.Reveal())
			assert.True(t, reply.Tokens.RefreshToken.IsZero(), "the credentials stay in its place")
			assert.InDelta(t, c.life.Seconds(), reply.Tokens.ExpiresIn.Seconds(), 60)
		})
	}
}

// TestCustomersClient: a refusal of the customer's own client is a refusal of that
// connection; one of the app's client is the app's.
func TestCustomersClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		status     int
		want       perennial.Outcome
		fault      perennial.Fault
	}{
		{"zoom-account", `{"error":"invalid_client"}`, 401, perennial.OutcomeRevoked, perennial.FaultGrant},
		{"zoom-account", `{"error":"unauthorized_client"}`, 400, perennial.OutcomeRevoked, perennial.FaultGrant},
		{"zoom-account", `{"error":"invalid_scope"}`, 400, perennial.OutcomeRejected, perennial.FaultGrant},
		{"zoom-account", ``, 404, perennial.OutcomeMisconfigured, perennial.FaultClient},
		{"zoom-account", `{"error":"server_error"}`, 503, perennial.OutcomeUnknown, perennial.FaultNobody},
		{"google-service-account", `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`, 400, perennial.OutcomeRevoked, perennial.FaultGrant},
		{"github-app", `{"message":"A JSON web token could not be decoded"}`, 401, perennial.OutcomeMisconfigured, perennial.FaultClient},
		{"microsoft-app", `{"error":"invalid_client"}`, 401, perennial.OutcomeMisconfigured, perennial.FaultClient},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		e := entry(t, c.name)
		e.TokenURL = server.URL
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), App{ClientID: "client id", Provider: e}, appKey, sample(t, e, nil), free)
		server.Close()
		assert.Equal(t, c.want, reply.Outcome, "%s %s", c.name, c.body)
		assert.Equal(t, c.fault, reply.Fault, "%s %s", c.name, c.body)
		assert.Equal(t, e.CustomersClient(), reply.CustomersClient)
		if c.fault == perennial.FaultGrant {
			assert.False(t, reply.ClientRejected(), "no other secret of the app is tried")
			assert.Equal(t, perennial.FaultGrant, perennial.FaultOf(reply.FailingCode()), reply.FailingCode())
		}
	}
}

// TestClockOfAnAssertion: a provider that finds our clock wrong says nothing against the
// grant.
func TestClockOfAnAssertion(t *testing.T) {
	t.Parallel()
	for _, said := range []string{
		"'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires.",
		"'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued.",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":%q}`, said)
		}))
		e := entry(t, "github-app")
		e.TokenURL = server.URL
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), App{ClientID: "client id", Provider: e}, appKey, sample(t, e, nil), free)
		server.Close()
		assert.Equal(t, perennial.OutcomeRejected, reply.Outcome, said)
		assert.Equal(t, perennial.FaultRequest, reply.Fault, said)
		assert.False(t, reply.Unclear, said)
	}
}

// TestOtherGrant: credentials go to no server as a token, and a refresh token nowhere as
// credentials.
func TestOtherGrant(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }))
	defer server.Close()
	zoom := entry(t, "zoom-account")
	consents := App{ClientID: "client id", Provider: Entry{Name: "p", TokenURL: server.URL, RevokeURL: server.URL, AuthStyle: AuthStyleNone}}
	client := NewClient(ClientConfig{})
	reply := client.Refresh(t.Context(), consents, perennial.Secret{}, sample(t, zoom, nil), free)
	assert.Equal(t, []any{perennial.OutcomeMisconfigured, "other_grant", false}, []any{reply.Outcome, reply.Code, reply.Sent})
	require.Error(t, client.Revoke(t.Context(), consents, sample(t, zoom, nil)))
	zoom.TokenURL = server.URL
	reply = client.Refresh(t.Context(), App{Provider: zoom}, perennial.Secret{}, testToken, free)
	assert.Equal(t, []any{perennial.OutcomeMisconfigured, "other_grant", false}, []any{reply.Outcome, reply.Code, reply.Sent})
	_, err := App{Provider: zoom}.AuthorizationURL("", "", perennial.Secret{}, nil)
	assert.ErrorContains(t, err, "credentials")
}

// TestUnreadKeepsCredentials: a kept reply's refresh token does not take the place of
// credentials.
func TestUnreadKeepsCredentials(t *testing.T) {
	t.Parallel()
	kept := Unread{Body: perennial.NewSecret(`{"access_token":"a","refresh_token":"planted-second-way"}`), Whole: true}
	tokens, _, err := ReadUnread(kept, entry(t, "zoom-account"), time.Now())
	require.NoError(t, err)
	assert.True(t, tokens.RefreshToken.IsZero())
	_, _, err = ReadUnread(Unread{Body: perennial.NewSecret(`{"refresh_token":"planted-second-way"}`), Whole: true}, entry(t, "zoom-account"), time.Now())
	assert.Error(t, err)
}

// TestParseCredentials: what is wrong is named, and no value is repeated.
func TestParseCredentials(t *testing.T) {
	t.Parallel()
	github, google, zoom := entry(t, "github-app"), entry(t, "google-service-account"), entry(t, "zoom-account")
	for _, c := range []struct {
		entry Entry
		raw   string
		want  string
	}{
		{zoom, `planted-secret`, "give a JSON object"},
		{zoom, `["planted-secret"]`, "give a JSON object"},
		{zoom, `{"account_id":{"planted-secret":1}}`, "give a JSON object"},
		{zoom, `{"account_id":"a","client_id":"b"}`, "client_secret is needed"},
		{zoom, `{"account_id":"a","client_id":"b","client_secret":""}`, "client_secret is needed"},
		{zoom, `{"account_id":"a","client_id":"b","client_secret":"planted-secret","clientsecret":"x"}`, "clientsecret"},
		{zoom, `{"account_id":"a","client_id":"b","client_secret":"x","planted-secret-0123456789":"x"}`, "is not one of"},
		{zoom, `{"account_id":"` + strings.Repeat("x", maxCredentials) + `"}`, "65536 bytes"},
		{google, `{"client_email":"a@b","private_key":"planted-secret"}`, "private_key has no private key"},
		{github, `{"installation_id":"1/../../planted-secret"}`, "it stands in an address"},
		{github, `{"installation_id":".."}`, "it stands in an address"},
		{github, `{"installation_id":"1?planted-secret"}`, "it stands in an address"},
		{github, `{"installation_id":"` + strings.Repeat("1", 129) + `"}`, "it stands in an address"},
		{entry(t, "zoom"), `{}`, "connects by a consent"},
	} {
		_, _, err := ParseCredentials(perennial.NewSecret(c.raw), c.entry)
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), c.raw)
		assert.ErrorContains(t, err, c.want)
		assert.NotContains(t, err.Error(), "planted")
	}
	one, account, err := ParseCredentials(perennial.NewSecret(`{"installation_id":123}`), github)
	require.NoError(t, err)
	assert.Equal(t, "123", account)
	two, _, err := ParseCredentials(perennial.NewSecret(`{"installation_id":"123"}`), github)
	require.NoError(t, err)
	assert.NotEqual(t, one.Digest(), two.Digest(), "each giving has a digest of its own")
	_, account, err = ParseCredentials(asJSON(t, given(google, map[string]string{"subject": "user@x"})), google)
	require.NoError(t, err)
	assert.Equal(t, "user@x", account)
	_, account, err = ParseCredentials(asJSON(t, given(google, nil)), google)
	require.NoError(t, err)
	assert.Equal(t, "planted-client_email", account)
}

// TestWrongGrants: a description whose grant cannot work is refused, with what to do.
func TestWrongGrants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Entry)
		want   string
	}{
		"no credentials":           {func(e *Entry) { e.Credentials = nil }, "{account_id} is not among its credentials"},
		"none at all":              {func(e *Entry) { e.Credentials, e.RefreshParams, e.Account = nil, nil, AccountSource{} }, "say in credentials"},
		"a credential in the host": {func(e *Entry) { e.TokenURL = "https://{account_id}.zoom.us/t" }, "in the host"},
		"a place for nothing":      {func(e *Entry) { e.TokenURL = "https://zoom.us/{tenant}" }, "{tenant} is not among"},
		"a class":                  {func(e *Entry) { e.ReplayClass = perennial.ReplaySingleUse }, "must be reusable"},
		"a revocation":             {func(e *Entry) { e.RevokeURL = "https://zoom.us/r" }, "leave them out"},
		"an account of a consent":  {func(e *Entry) { e.Account = AccountSource{From: AccountFromReply, Name: "id"} }, "must be from credentials"},
		"a grant type":             {func(e *Entry) { e.Grant, e.AuthStyle = GrantJWTBearer, AuthStyleNone }, "grant_type is for"},
		"no consent, but no grant": {func(e *Entry) { e.Grant, e.Account = "", AccountSource{} }, "need a grant"},
		"an account of no grant": {func(e *Entry) {
			*e = entry(t, "zoom")
			e.Account = AccountSource{From: AccountFromCredentials, Name: "x"}
		}, "needs a grant"},
		"two proofs":                 {func(e *Entry) { e.Grant, e.GrantType = GrantJWTBearer, "" }, "auth_style must be none"},
		"an id without its key":      {func(e *Entry) { e.CredentialsOptional = []string{"private_key_id"} }, "private_key_id is for"},
		"a certificate and a secret": {func(e *Entry) { e.AuthStyle = AuthStyleTLS }, "takes the app's certificate"},
	} {
		e := entry(t, "zoom-account")
		require.NoError(t, e.Validate())
		c.change(&e)
		err := e.Validate()
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
		assert.Contains(t, err.Error(), c.want, name)
	}
}

// FuzzParseCredentials reads any text: there is no panic, and what is read can be
// presented.
func FuzzParseCredentials(f *testing.F) {
	github := entry(f, "github-app")
	github.CredentialsOptional = []string{"client_id", "other"}
	for _, seed := range []string{`{"installation_id":"1"}`, `{"installation_id":1e9,"other":null}`, `{"installation_id":"{host}","other":"{installation_id}"}`, `{}`, `[`, "{\"installation_id\":\"\xff\"}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		presented, account, err := ParseCredentials(perennial.NewSecret(raw), github)
		if err != nil {
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
			return
		}
		opened, ok := openCredentials(presented)
		require.True(t, ok)
		require.Equal(t, account, opened["installation_id"])
		own, _ := App{ClientID: "id", Provider: github}.with(opened)
		require.Equal(t, "https://api.github.com/app/installations/"+account+"/access_tokens", own.Provider.TokenURL)
	})
}
