package printable_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIs(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "acme", "Größe 3 €", "日本語", "שלום", "حساب", "a b", "\u00a0", "👍🏽", "❤️", "\u0600\u0661"} {
		assert.True(t, printable.Is(good), "%q", good)
		assert.Equal(t, good, printable.Escape(good))
	}
	for bad, escaped := range map[string]string{
		"\x00": `\x00`, "a\tb": `a\x09b`, "\n": `\x0a`, "\x1b[2J": `\x1b[2J`, "\x7f": `\x7f`, "\u0080": `\u0080`, "\u009b31m": `\u009b31m`,
		"\u061c": `\u061c`, "\u200b": `\u200b`, "\u200d": `\u200d`, "\u200e": `\u200e`, "\u200f": `\u200f`, "\u2028": `\u2028`, "\u2029": `\u2029`,
		"\u202a": `\u202a`, "\u202e": `\u202e`, "\u2060": `\u2060`, "\u2066": `\u2066`, "\u2069": `\u2069`, "\ufeff": `\ufeff`, "\u00ad": `\u00ad`,
		"\u3164": `\u3164`, "\ufffe": `\ufffe`, "\U000e0041": `\U000e0041`, "\xff": `\xff`, "a\x9bb": `a\x9bb`, "\xed\xa0\x80": `\xed\xa0\x80`,
	} {
		assert.False(t, printable.Is(bad), "%q", bad)
		assert.Equal(t, escaped, printable.Escape(bad))
	}
}

// FuzzEscape: whatever goes in, what is written is safe to show, and escaped JSON has
// the same meaning.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "\x1b]0;x\a", "a\u009b31mb", "\u202egnp.exe", "\xff\xfe", "line\nline\t", "\U000e0001", "\ufffd", `\u009b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.True(t, printable.Is(printable.Escape(s)))
		var out bytes.Buffer
		_, err := printable.NewWriter(&out).Write([]byte(s))
		require.NoError(t, err)
		require.True(t, printable.Is(strings.NewReplacer("\n", "", "\t", "").Replace(out.String())))

		raw, err := json.Marshal(s)
		require.NoError(t, err)
		escaped := printable.EscapeJSON(raw)
		require.True(t, printable.Is(string(escaped)), "%s", escaped)
		var back string
		require.NoError(t, json.Unmarshal(escaped, &back))
		require.Equal(t, string([]rune(s)), back)
		require.True(t, utf8.Valid(escaped))
	})
}

// TestTable: no cell starts a new row or moves under another column's heading.
func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	table := printable.NewTable(&out)
	fmt.Fprintln(table, "ID\tACCOUNT\tSTATUS")
	fmt.Fprintf(table, "%s\t%s\t%s\n", "con_1", "62515", "Connected")
	fmt.Fprintf(table, "%s\t%s\t%s\n", "con_2", "1\ncon_3\tforged", "Connected")
	fmt.Fprintf(table, "%s\t%s\t%s\n", "con_4", "\x1b[2J\u009b2J\u202e\r", "Connected")
	fmt.Fprintf(table, "%s\t%s\t%s\n", "con_5", "last\n", "Connected")
	require.NoError(t, table.Flush())
	assert.Equal(t, `ID     ACCOUNT  STATUS
con_1  62515    Connected
con_2\x091\x0acon_3\x09forged\x09Connected
con_4  \x1b[2J\u009b2J\u202e\x0d  Connected
con_5  last\x0a                   Connected
`, out.String())
}
