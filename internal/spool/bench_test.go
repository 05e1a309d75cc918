package spool_test

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/stretchr/testify/require"
)

// The benchmarks count the volume's syncs more than any work of ours.

func BenchmarkReady(b *testing.B) {
	s, err := spool.Open(b.TempDir(), 0)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Ready(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeepAndDrop(b *testing.B) {
	s, err := spool.Open(b.TempDir(), 0)
	require.NoError(b, err)
	req := request("con_1")
	req.AccessTokenSealed, req.RefreshTokenSealed = make([]byte, 1200), make([]byte, 400)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Add(req); err != nil {
			b.Fatal(err)
		}
		if err := s.Drop(req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHolds measures what each refresh asks first. The spool is empty, as nearly
// always.
func BenchmarkHolds(b *testing.B) {
	s, err := spool.Open(b.TempDir(), 0)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Has("con_1", 1); err != nil {
			b.Fatal(err)
		}
	}
}
