package dev

import (
	"reflect"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
)

// TestSummaryIsWhole: the summary shows what the story, the provider's books and a row
// know. The fields listed come from the histories and the ledger.
func TestSummaryIsWhole(t *testing.T) {
	t.Parallel()
	s := &story{stack: &stack{}, kills: 1, lost: 2, recovered: 3}
	s.ready = time.Now()
	sum := s.summary(fill.Of[fakeprovider.Oracle](), s.ready.Add(time.Minute))
	sum.add(fill.Of[perennial.Connection]())
	assert.Equal(t, []string{"HistoryRefreshes", "ExpiredBeforeRefresh", "FirstRunIDs", "Missing"}, fill.Zeros(sum))
	assert.Equal(t, []int{1, 2, 3}, []int{sum.WorkerKills, sum.ReconnectRequired, sum.Recovered})
}

// TestGrantIsWhole: the consent of a demo account names everything but a host of its own.
func TestGrantIsWhole(t *testing.T) {
	t.Parallel()
	d := demos[0]
	assert.Equal(t, []string{"Host", "Credentials"}, fill.Zeros(d.grant(fill.Of[perennial.TokenSet](), time.Now())))
}

// TestRowIsWhole: no cell of a connection's line is left empty.
func TestRowIsWhole(t *testing.T) {
	t.Parallel()
	c := fill.Of[perennial.Connection]()
	got := reflect.ValueOf(rowOf(c, fill.Of[perennial.StatusText](), c.ExpiresAt.Add(-time.Minute), "refreshed"))
	for i := range got.NumField() {
		assert.False(t, got.Field(i).IsZero(), got.Type().Field(i).Name)
	}
}
