package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// needles returns every form in which a secret could be written somewhere.
func needles(secrets map[string]string) map[string]string {
	out := map[string]string{}
	for name, s := range secrets {
		// Of base64 only the middle is searched for, because what precedes the secret
		// shifts its ends.
		for form, v := range map[string]string{"plain": s, "URL-encoded": url.QueryEscape(s), "hex": hex.EncodeToString([]byte(s))} {
			out[name+" "+form] = v
		}
		for shift := range 3 {
			padded := append(bytes.Repeat([]byte{'x'}, shift), s...)
			coded := base64.RawStdEncoding.EncodeToString(padded)
			out[fmt.Sprintf("%s base64 %d", name, shift)] = coded[4 : len(coded)-4]
		}
	}
	return out
}

func found(place []byte, all map[string]string) (names []string) {
	for name, n := range all {
		if bytes.Contains(place, []byte(n)) {
			names = append(names, name)
		}
	}
	return names
}

// TestPlantedSecrets uses a provider that repeats every request in its errors. It takes
// connections through success, refusal and misconfiguration, and searches every place
// for every secret. Each place is first shown to be searched: a deliberate leak in a
// copy of it must be found.
func TestPlantedSecrets(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := setup(t, setting{top: "notify: {allow_private: true}"})
	messages := &safeBuffer{}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(messages)
		_, _ = io.Copy(messages, r.Body)
	}))
	t.Cleanup(receiver.Close)
	_, signing, err := s.deps.Notify(nil).Add(ctx, perennial.CommandLineAccess(), receiver.URL, nil)
	require.NoError(t, err)
	stop := s.work()
	k := fakeprovider.Knobs{LifetimeSeconds: 5, Rotate: true, Echo: true}
	secrets := map[string]string{"client secret": clientSecret, "webhook secret": signing.Reveal(), "webhook key": strings.TrimPrefix(signing.Reveal(), "whsec_"),
		"Basic header": base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(clientID) + ":" + url.QueryEscape(clientSecret))),
	}
	plant := func(account string) connect.Grant {
		g := s.consent(account, k)
		secrets["access token of "+account] = g.Tokens.AccessToken.Reveal()
		secrets["refresh token of "+account] = g.Tokens.RefreshToken.Reveal()
		return g
	}
	refused, err := s.service.Connect(ctx, perennial.WorkerAccess(), plant("refused"))
	require.NoError(t, err)
	healthy, err := s.service.Connect(ctx, perennial.WorkerAccess(), plant("healthy"))
	require.NoError(t, err)
	require.NoError(t, s.provider.Revoke(clientID, "refused"))
	s.until(refused.ID, "refused twice", status(perennial.StatusReconnectRequired))
	s.until(healthy.ID, "refreshed", generation(2))
	require.NoError(t, s.provider.SetSecrets(clientID, "another secret"))
	failing := s.until(healthy.ID, "the app is misconfigured", func(c perennial.Connection) bool { return c.Health == perennial.HealthFailing })
	assert.Equal(t, perennial.StatusActive, failing.Status, "an app's fault changes no connection's status")
	assert.Equal(t, "invalid_client", failing.FailingCode)

	var errors []string
	_, err = s.updates.RefreshNow(ctx, refused.ID, workflows.RefreshNow{})
	errors = append(errors, fmt.Sprintf("%v %+v %#v", err, err, err))
	bad := plant("bad")
	bad.App = "no such app"
	_, err = s.service.Connect(ctx, perennial.WorkerAccess(), bad)
	errors = append(errors, fmt.Sprintf("%v %+v %+v", err, err, bad))
	s.eventually("its failing is told", func() bool { return bytes.Contains(messages.Bytes(), []byte(perennial.EventFailing)) })
	stop()

	now := s.get(healthy.ID)
	for field, sealed := range map[seal.Field][]byte{seal.FieldAccessToken: now.AccessTokenSealed, seal.FieldRefreshToken: now.RefreshTokenSealed} {
		opened, err := s.deps.Keyring.Open(seal.BindingOf(now, field, now.Generation), sealed)
		require.NoError(t, err)
		secrets["rotated "+string(field)] = opened.Reveal()
	}
	places := map[string][]byte{"errors": []byte(strings.Join(errors, "\n")), "logs": s.logs.Bytes(), "database": s.dump(), "messages": messages.Bytes()}
	histories := append(s.histories(refused.ID), s.histories(healthy.ID)...)
	sent, err := notify.NewStore(s.deps.DB).Deliveries(ctx, perennial.WorkerAccess(), perennial.DeliveryDelivered, 10)
	require.NoError(t, err)
	require.NotEmpty(t, sent)
	for _, d := range sent {
		histories = append(histories, s.history(workflows.DeliveryID(s.deps.Config.TaskQueue, d.EventID, d.EndpointID), ""))
	}
	for _, h := range histories {
		raw, err := proto.Marshal(h) // with payloads as they are
		require.NoError(t, err)
		readable, err := protojson.Marshal(h)
		require.NoError(t, err)
		places["histories"] = append(places["histories"], append(raw, readable...)...)
	}
	// The dump has the sealed bytes that the keyring opens.
	assert.Contains(t, string(places["database"]), hex.EncodeToString(s.get(healthy.ID).RefreshTokenSealed))

	all := needles(secrets)
	for name, place := range places {
		require.NotEmpty(t, place, name)
		for what, n := range all {
			leaky := append(bytes.Clone(place), n...)
			require.Contains(t, found(leaky, all), what, "a deliberate leak in %s is not found", name)
		}
		assert.Empty(t, found(place, all), "secrets in %s", name)
		t.Logf("%s: %d bytes searched for %d forms of %d secrets", name, len(place), len(all), len(secrets))
	}
}

// dump returns every column of every table as text, bytes as hex.
func (s *stack) dump() []byte {
	s.Helper()
	db, err := sql.Open("pgx", s.url)
	require.NoError(s, err)
	defer db.Close()
	var out bytes.Buffer
	for _, table := range []string{"connections", "attempts", "outbox", "webhook_endpoints", "webhook_deliveries"} {
		rows, err := db.Query("SELECT * FROM " + table)
		require.NoError(s, err)
		columns, err := rows.Columns()
		require.NoError(s, err)
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(s, rows.Scan(into...))
			for i, v := range values {
				if raw, ok := v.([]byte); ok {
					v = hex.EncodeToString(raw) + " " + string(raw)
				}
				fmt.Fprintf(&out, "%s.%s = %v\n", table, columns[i], v)
			}
		}
		require.NoError(s, rows.Err())
		require.NoError(s, rows.Close())
	}
	return out.Bytes()
}
