package client

import (
	"reflect"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
)

// TestTokenIsWhole: a caller gets every field of a token.
func TestTokenIsWhole(t *testing.T) {
	t.Parallel()
	now := time.Now()
	state := TokenState{Access: words.NewSecret("token"), Generation: 7, Account: "account", Status: words.StatusReconnectRequired,
		Reason: words.ReasonInvalidGrant, Now: now, ExpiresAt: now.Add(time.Hour)}
	got := reflect.ValueOf(take("con_1", state, now, time.Minute).token)
	for i := range got.NumField() {
		assert.False(t, got.Field(i).IsZero(), got.Type().Field(i).Name)
	}
}

// TestErrorsNameTheConnection: whatever keeps a caller from a token, its error says of
// which connection.
func TestErrorsNameTheConnection(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fake){
		"not there":    func(f *fake) { f.loadErr = words.Errorf(words.CodeNotFound, "gone") },
		"out of reach": func(f *fake) { f.loadErr = words.Errorf(words.CodeUnavailable, "away") },
		"paused":       func(f *fake) { f.state.Status = words.StatusPaused },
		"disconnected": func(f *fake) { f.state.Status = words.StatusDisconnected },
		"reconnect required": func(f *fake) {
			f.state.Status, f.state.ExpiresAt = words.StatusReconnectRequired, time.Now().Add(-time.Second)
		},
		"no token": func(f *fake) {
			f.state.Access, f.refreshErr = words.Secret{}, words.Errorf(words.CodeUnavailable, "away")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			change(b.backend)
			err := reflect.Indirect(reflect.ValueOf(b.fails()))
			assert.Equal(t, id, err.FieldByName("Connection").String(), "%s: %v", err.Type(), err)
		})
	}
}
