// Package printable tells text that is safe to show from text that is not: control
// characters move a terminal's cursor, bidirectional controls reorder what is
// read, and invisible characters make two names look alike.
package printable

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Is reports whether s is valid UTF-8 and each of its characters is visible.
func Is(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, hidden) }

// hidden reports whether r is a control character (C0, DEL, C1), a line or paragraph
// separator, a format character (bidirectional controls, zero-width spaces and joiners,
// tags), or another invisible character.
func hidden(r rune) bool {
	switch {
	case r < 0x7f:
		return r < ' '
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r): // signs of Arabic and Syriac: format characters that are visible
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point)
}

// Escape returns s with each byte or character that is not safe to show replaced by an
// escape, as Go and JSON write it: \x1b, \u202e. A backslash stays as it is.
func Escape(s string) string { return escape(s, "") }

// escape does not escape the characters of keep.
func escape(s, keep string) string {
	if Is(s) {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&out, `\x%02x`, s[0])
		case !hidden(r) || strings.ContainsRune(keep, r):
			out.WriteString(s[:size])
		case r < 0x80:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		s = s[size:]
	}
	return out.String()
}

// EscapeJSON returns a JSON text in which every character that is not safe to show is
// an escape. Every parser reads the same text from it. Valid JSON has such characters
// only in strings, and as the white space between values, which stays.
func EscapeJSON(raw []byte) []byte {
	var out strings.Builder
	for _, r := range string(raw) {
		switch {
		case !hidden(r) || r == '\n' || r == '\r' || r == '\t':
			out.WriteRune(r)
		case r > 0xffff:
			high, low := surrogates(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return []byte(out.String())
}

func surrogates(r rune) (high, low rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}

// NewWriter returns a writer that escapes what is not safe to show, except line feeds
// and tabs, and writes the rest to w. A character must not be split over two writes;
// package fmt never splits one.
func NewWriter(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, escape(string(p), "\n\t")); err != nil {
		return 0, err
	}
	return len(p), nil
}
