package words_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/require"
)

const planted = "PLANTED-9f3aB7"

// leaks reports whether out shows value in any form that fmt and the encoders can give
// it.
func leaks(out, value string) bool {
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprintf("% x", value), fmt.Sprintf("% X", value),
		strings.Trim(fmt.Sprint([]byte(value)), "[]"), strings.Trim(fmt.Sprint([]rune(value)), "[]"), fmt.Sprintf("%U", []rune(value))} {
		if form != "" && strings.Contains(out, form) {
			return true
		}
	}
	return false
}

type holder struct {
	private words.Secret
	Name    string
	S       words.Secret
	P       *words.Secret
	Many    []words.Secret
	ByName  map[string]words.Secret
	Any     any
}

// shapes are the places in which a printed value may have a secret.
func shapes(value string) map[string]any {
	s := words.NewSecret(value)
	h := holder{private: s, Name: "n", S: s, P: &s, Many: []words.Secret{s}, ByName: map[string]words.Secret{"k": s}, Any: s}
	return map[string]any{
		"value": s, "pointer": &s, "struct": h, "pointer to struct": &h, "slice": []words.Secret{s}, "slice of any": []any{s, &s},
		"array": [1]words.Secret{s}, "map": map[string]words.Secret{"k": s}, "map key": map[words.Secret]int{s: 1},
		"anonymous": struct{ words.Secret }{s}, "token set": struct{ AccessToken, RefreshToken words.Secret }{s, s},
	}
}

func TestSecretInFmt(t *testing.T) {
	t.Parallel()
	verbs := []string{"%v", "%+v", "%#v", "%s", "%+s", "%#s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%d", "%+d", "%o", "%b", "%c", "%U", "%t", "%e", "%20v", "%.3s", "%T", "%p", "%w"}
	for name, shape := range shapes(planted) {
		for _, verb := range verbs {
			out := fmt.Sprintf(verb, shape)
			require.False(t, leaks(out, planted), "%s with %s: %s", name, verb, out)
		}
		require.False(t, leaks(fmt.Sprint(shape)+fmt.Sprintln(shape), planted), name)
	}
	require.Equal(t, "[redacted]", fmt.Sprintf("%v", words.NewSecret(planted)))
	require.Equal(t, "[redacted]", words.NewSecret(planted).String())
	require.Equal(t, "perennial.Secret([redacted])", words.NewSecret(planted).GoString())
}

func TestSecretInLogs(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes(planted) {
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			log := slog.New(h)
			log.Info("event", "secret", shape, slog.Group("g", "secret", shape))
			log.With("secret", shape).WithGroup("g").Error("event", "error", fmt.Errorf("refresh: %v", shape))
		}
		require.False(t, leaks(out.String(), planted), "%s: %s", name, out.String())
	}
}

func TestSecretInEncodings(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes(planted) {
		for encoding, encode := range map[string]func(any) ([]byte, error){
			"json": json.Marshal,
			"json, indented": func(v any) ([]byte, error) {
				return json.MarshalIndent(v, "", " ")
			},
			"xml": func(v any) ([]byte, error) {
				return xml.Marshal(struct{ V any }{v}) // a type without a name has no element of its own
			},
			"gob": func(v any) ([]byte, error) {
				var out bytes.Buffer
				err := gob.NewEncoder(&out).Encode(v)
				return out.Bytes(), err
			},
			"template": func(v any) ([]byte, error) {
				var out bytes.Buffer
				err := template.Must(template.New("").Parse(`{{.}} {{printf "%#v" .}}`)).Execute(&out, v)
				return out.Bytes(), err
			},
		} {
			out, err := encode(shape) // some shapes cannot be encoded, and the error must not show it either
			require.False(t, leaks(string(out)+fmt.Sprint(err), planted), "%s as %s: %s %v", name, encoding, out, err)
		}
	}
	s := words.NewSecret(planted)
	out, err := json.Marshal(map[string]any{"s": s})
	require.NoError(t, err)
	require.JSONEq(t, `{"s":"[redacted]"}`, string(out))
	text, err := s.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "[redacted]", string(text))
}

func TestSecretInErrors(t *testing.T) {
	t.Parallel()
	s := words.NewSecret(planted)
	for _, err := range []error{
		fmt.Errorf("present %s: %v", s, s), words.Errorf(words.CodeInvalid, "present %q %#v", s, &s),
		errors.Join(fmt.Errorf("%x", s), words.Errorf(words.CodeSealed, "%+v", holder{S: s})),
	} {
		require.False(t, leaks(fmt.Sprintf("%v %+v %#v", err, err, err), planted), "%v", err)
	}
}

func TestSecretReveals(t *testing.T) {
	t.Parallel()
	s := words.NewSecret(planted)
	require.Equal(t, planted, s.Reveal())
	require.False(t, s.IsZero())
	require.Equal(t, s, words.NewSecret(planted), "comparable")
	require.True(t, words.Secret{}.IsZero())
	require.Equal(t, "[redacted]", words.Secret{}.String(), "an empty one looks like any other")
}

func TestSecretDigest(t *testing.T) {
	t.Parallel()
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", words.NewSecret("abc").Digest(), "SHA-256, FIPS 180-4's example")
	require.Empty(t, words.Secret{}.Digest())
	require.NotEqual(t, words.NewSecret("a").Digest(), words.NewSecret("b").Digest())
}

// TestLeaksFinds shows that the check of this file can fail.
func TestLeaksFinds(t *testing.T) {
	t.Parallel()
	type open struct{ value string }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x"} {
		require.True(t, leaks(fmt.Sprintf(verb, open{planted}), planted), verb)
	}
	require.True(t, leaks(fmt.Sprintf("%d", []byte(planted)), planted))
}

func FuzzSecret(f *testing.F) {
	f.Add(planted, "%v")
	f.Add("\x00\xff", "%+#v")
	f.Add("%!s", "%[1]*d")
	f.Add("redacted]", "% x %[1]T")
	f.Fuzz(func(t *testing.T, value, format string) {
		// What the format itself says, or what any secret prints, is no leak.
		value = "PLANTED-" + value
		if strings.Contains(format, "PLANTED-") {
			return
		}
		for name, shape := range shapes(value) {
			if out := fmt.Sprintf(format, shape); leaks(out, value) {
				t.Fatalf("%s with %q: %s", name, format, out)
			}
		}
		if words.NewSecret(value).Reveal() != value {
			t.Fatal("not what was wrapped")
		}
	})
}
