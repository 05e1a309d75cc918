package perennial_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

func TestErrorf(t *testing.T) {
	t.Parallel()
	err := perennial.Errorf(perennial.CodeUnavailable, "read connection %s: %w", "c1", io.ErrUnexpectedEOF)
	require.EqualError(t, err, "read connection c1: unexpected EOF")
	require.Equal(t, perennial.CodeUnavailable, err.Code)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, errors.Unwrap(perennial.Errorf(perennial.CodeInvalid, "no cause")))
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	paused := perennial.Errorf(perennial.CodePaused, "paused")
	for _, tc := range []struct {
		name string
		err  error
		want perennial.Code
	}{
		{"nil", nil, ""},
		{"another error", io.EOF, perennial.CodeInternal},
		{"itself", paused, perennial.CodePaused},
		{"wrapped", fmt.Errorf("token: %w", fmt.Errorf("row: %w", paused)), perennial.CodePaused},
		{"joined, after another error", errors.Join(io.EOF, paused), perennial.CodePaused},
		{"joined, the first of two", errors.Join(paused, perennial.Errorf(perennial.CodeInvalid, "x")), perennial.CodePaused},
		{"the outer of two", perennial.Errorf(perennial.CodeUnavailable, "x: %w", paused), perennial.CodeUnavailable},
		{"a text that was an error", errors.New(paused.Error()), perennial.CodeInternal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, perennial.CodeOf(tc.err))
		})
	}
}

// TestImportsStandardLibraryOnly: a program that imports the root package gets no other
// dependency.
func TestImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	files := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			require.True(t, standard(path), "%s imports %s", e.Name(), path)
		}
	}
	require.NotZero(t, files)
	require.False(t, standard("github.com/stretchr/testify/require"))
	require.False(t, standard("C"))
}

// standard reports whether path is in the standard library: the first element of any
// other path has a dot in it.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return path != "C" && !strings.Contains(first, ".")
}
