package provider

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoldenKeys: the page about providers has a line for each key of a description.
func TestGoldenKeys(t *testing.T) {
	t.Parallel()
	const page, begin, end = "../docs/providers.md", "go test -run TestGolden ./provider -->\n", "<!-- end of keys -->"
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(raw), begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	var keys strings.Builder
	keys.WriteString("| key | says |\n|---|---|\n")
	rows(&keys, reflect.TypeFor[Description](), "")
	want := before + begin + keys.String() + end + after
	if os.Getenv("PERENNIAL_UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(raw), "write it with PERENNIAL_UPDATE_GOLDEN=1 go test -run TestGolden ./provider")
}

func rows(out *strings.Builder, t reflect.Type, prefix string) {
	for field := range t.Fields() {
		if !field.IsExported() {
			continue
		}
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		says := field.Tag.Get("doc")
		if values := field.Tag.Get("enum"); values != "" {
			says += " One of `" + strings.ReplaceAll(values, ",", "`, `") + "`."
		}
		fmt.Fprintf(out, "| `%s%s` | %s |\n", prefix, key, says)
		of := field.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct {
			rows(out, of, prefix+key+".")
		}
	}
}
