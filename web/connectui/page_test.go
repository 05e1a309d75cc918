package connectui_test

import (
	"testing"

	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/assert"
)

// TestTitleThatEndsInAFullStop: the page's sentence has one full stop.
func TestTitleThatEndsInAFullStop(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for title, want := range map[string]string{
		"Acme Inc.":    "account for Acme Inc. You sign in",
		"Jane's Bikes": "account for Jane's Bikes. You sign in",
		"":             "account. You sign in",
	} {
		s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings", TenantTitle: title})
		assert.Contains(t, w.Browser(t).Open(s.Link.Reveal()).Text(), want)
	}
}
