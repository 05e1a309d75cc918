package spool_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func request(id string) store.SaveRequest {
	return store.SaveRequest{ID: id, AttemptID: "a/1*", Generation: 1, NewGeneration: 2, SealedTokens: store.SealedTokens{
		AccessTokenSealed:  []byte{0, 255},
		RefreshTokenSealed: []byte("sealed"),
		RefreshTokenDigest: "d",
		ExpiresAt:          time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	},
		Ledger: perennial.Attempt{ID: "a", StartedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
}

func TestKeepAndDrop(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	for range 2 { // keeping again changes nothing
		require.NoError(t, s.Add(request("con_1")))
	}
	require.NoError(t, s.Add(request("../con_[2]")))
	again, err := spool.Open(dir, 0) // another process
	require.NoError(t, err)
	kept, err := again.List()
	require.NoError(t, err)
	assert.ElementsMatch(t, []store.SaveRequest{request("con_1"), request("../con_[2]")}, kept)
	for _, r := range kept {
		holds, err := s.Has(r.ID, r.Generation)
		require.NoError(t, err)
		assert.True(t, holds)
		require.NoError(t, s.Drop(r))
		require.NoError(t, s.Drop(r))
		holds, err = again.Has(r.ID, r.Generation)
		require.NoError(t, err)
		assert.False(t, holds)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "nothing is left behind")
}

func TestFullSpoolSaysSo(t *testing.T) {
	t.Parallel()
	s, err := spool.Open(t.TempDir(), 1)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	err = s.Ready()
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "full")
	require.NoError(t, s.Add(request("con_2")), "what was already received is always kept")
}

func TestUnwritableSpoolSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := spool.Open(file, 0)
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := spool.Open(dir, 0)
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(dir))
		assert.NoError(t, s.Ready(), "the proof of the last second counts")
		time.Sleep(time.Second)
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(s.Ready()))
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(s.Ready()), "only a success is remembered")
	})
}

func TestCorruptFileIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	require.NoError(t, s.Add(request("con_2")))
	files, err := filepath.Glob(filepath.Join(dir, "*.sealed"))
	require.NoError(t, err)
	raw, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], raw[:len(raw)-1], 0o600))
	kept, err := s.List()
	assert.ErrorContains(t, err, "corrupt")
	assert.Len(t, kept, 1)
	aside, err := filepath.Glob(filepath.Join(dir, "*.corrupt"))
	require.NoError(t, err)
	assert.Len(t, aside, 1, "never deleted")
	gone := request("con_1")
	if kept[0].ID == gone.ID {
		gone = request("con_2")
	}
	_, err = s.Has(gone.ID, gone.Generation)
	assert.Equal(t, perennial.CodeSealed, perennial.CodeOf(err), "its connection is not presented")
	holds, err := s.Has(gone.ID, gone.Generation+1)
	assert.NoError(t, err)
	assert.False(t, holds, "the row has moved on: nothing is lost any more")
	holds, err = s.Has(kept[0].ID, gone.Generation)
	assert.NoError(t, err)
	assert.True(t, holds, "others are not concerned")
	sets, corrupt, err := s.Count()
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{sets, corrupt})
}

// TestWhatIsNoTokenSet: a named pipe, a folder and a link do not stop the reading, and
// bar no connection; nor does a name whose generation the row cannot have.
func TestWhatIsNoTokenSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	name := func(generation string) string {
		return filepath.Join(dir, hex.EncodeToString([]byte("con_2"))+"."+generation+".61")
	}
	require.NoError(t, syscall.Mkfifo(name("1")+".sealed", 0o600))
	require.NoError(t, os.Mkdir(name("2")+".sealed", 0o700))
	require.NoError(t, os.Symlink("/dev/zero", name("3")+".sealed"))
	kept, err := s.List()
	require.NoError(t, err)
	assert.Equal(t, []store.SaveRequest{request("con_1")}, kept)
	for _, n := range []string{"10002", "9223372036854775807", "9223372036854775808", "99999999999999999999"} {
		require.NoError(t, os.WriteFile(name(n)+".sealed", []byte("x"), 0o600))
	}
	for i := range 2 { // the second time they have been set aside
		holds, err := s.Has("con_2", 1)
		require.NoError(t, err)
		assert.False(t, holds)
		_, err = s.List()
		assert.Equal(t, i == 0, err != nil)
	}
	require.NoError(t, os.WriteFile(name("10001")+".corrupt", nil, 0o600))
	_, err = s.Has("con_2", 1)
	assert.Error(t, err, "this number may be the row's")
}

// TestSetAside: a set that can never be stored is kept, and prevents nothing.
func TestSetAside(t *testing.T) {
	t.Parallel()
	s, err := spool.Open(t.TempDir(), 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	for range 2 {
		require.NoError(t, s.SetAside(request("con_1")))
	}
	holds, err := s.Has("con_1", 1)
	require.NoError(t, err)
	assert.False(t, holds)
	kept, err := s.List()
	require.NoError(t, err)
	assert.Empty(t, kept)
	sets, notStored, err := s.Count()
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1}, []int{sets, notStored})
}

// TestWrittenAndNotNamed: a set whose process died after it was on disk and before it had
// its name is found. A set that a living process is writing is left to it, and an
// incomplete file stays as it is.
func TestWrittenAndNotNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	found, err := filepath.Glob(filepath.Join(dir, "*.sealed"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	whole, err := os.ReadFile(found[0])
	require.NoError(t, err)
	require.NoError(t, s.Drop(request("con_1")))
	unnamed, cut := filepath.Join(dir, ".new-1"), filepath.Join(dir, ".new-2")
	require.NoError(t, os.WriteFile(unnamed, whole, 0o600))
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)-1], 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, ".new-3"), 0o600))

	writer, err := os.Open(unnamed)
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(writer.Fd()), syscall.LOCK_EX))
	kept, err := s.List()
	require.NoError(t, err)
	assert.Empty(t, kept, "its process is at it")
	require.NoError(t, writer.Close())

	kept, err = s.List()
	require.NoError(t, err)
	assert.Equal(t, []store.SaveRequest{request("con_1")}, kept)
	holds, err := s.Has("con_1", 1)
	require.NoError(t, err)
	assert.True(t, holds)
	assert.NoFileExists(t, unnamed)
	assert.FileExists(t, cut)
}

// TestDiesWhileItKeeps: many processes that are killed while they keep sets lose none that
// they reported as kept.
func TestDiesWhileItKeeps(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("PERENNIAL_TEST_KEEPS"); dir != "" {
		s, err := spool.Open(dir, 0)
		require.NoError(t, err)
		for n := 0; ; n++ {
			require.NoError(t, s.Add(request(fmt.Sprintf("con_%d_%d", os.Getpid(), n))))
			fmt.Printf("kept %d_%d\n", os.Getpid(), n)
		}
	}
	dir := t.TempDir()
	promised := 0
	var all []store.SaveRequest
	for range 10 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiesWhileItKeeps$")
		cmd.Env = append(os.Environ(), "PERENNIAL_TEST_KEEPS="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for range 5 {
			require.True(t, lines.Scan())
		}
		require.NoError(t, cmd.Process.Kill())
		for promised += 5; lines.Scan(); promised++ {
		}
		_ = cmd.Wait() // killed
	}
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	all, err = s.List()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(all), promised)
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	require.NoError(t, err)
	for _, path := range left {
		info, err := os.Stat(path)
		require.NoError(t, err)
		t.Logf("not whole: %d bytes", info.Size())
	}
}

func FuzzKept(f *testing.F) {
	f.Add([]byte("x\n{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		s, err := spool.Open(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "00.00.sealed"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if kept, err := s.List(); err == nil && len(kept) > 0 {
			t.Fatalf("took %q for tokens", raw)
		}
	})
}
