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
