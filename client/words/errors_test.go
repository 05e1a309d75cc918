package words_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/require"
)

func TestErrorf(t *testing.T) {
	t.Parallel()
	err := words.Errorf(words.CodeUnavailable, "read connection %s: %w", "c1", io.ErrUnexpectedEOF)
	require.EqualError(t, err, "read connection c1: unexpected EOF")
	require.Equal(t, words.CodeUnavailable, err.Code)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, errors.Unwrap(words.Errorf(words.CodeInvalid, "no cause")))
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	paused := words.Errorf(words.CodePaused, "paused")
	for _, tc := range []struct {
		name string
		err  error
		want words.Code
	}{
		{"nil", nil, ""},
		{"another error", io.EOF, words.CodeInternal},
		{"itself", paused, words.CodePaused},
		{"wrapped", fmt.Errorf("token: %w", fmt.Errorf("row: %w", paused)), words.CodePaused},
		{"joined, after another error", errors.Join(io.EOF, paused), words.CodePaused},
		{"joined, the first of two", errors.Join(paused, words.Errorf(words.CodeInvalid, "x")), words.CodePaused},
		{"the outer of two", words.Errorf(words.CodeUnavailable, "x: %w", paused), words.CodeUnavailable},
		{"a text that was an error", errors.New(paused.Error()), words.CodeInternal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, words.CodeOf(tc.err))
		})
	}
}
