package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/printable"
)

// Names of members are compared exactly: "Account_Id" is not account_id. Otherwise a
// rule could be checked on one of two members, and the other one used. The setting is
// the library's own and holds for the whole process.
func init() { huma.ValidateStrictCasing = true }

// maxDepth bounds how deep a body's objects and lists are nested.
const maxDepth = 32

// foreign is the member whose text comes from a provider; it stays as it is.
const foreign = "tokens"

// checkJSON refuses a body that two parsers may read differently, or whose text hides
// what it says: invalid UTF-8, lone surrogates, two members with one name, deep
// nesting, control and invisible characters. A body that is not JSON at all is left to
// the operation, which refuses it.
func (a *API) checkJSON(body []byte) *Problem {
	if !json.Valid(body) {
		return nil
	}
	bad := func(where, message string) *Problem {
		p := problem(perennial.CodeInvalid, "The body is not JSON of the strict kind that is taken here.")
		p.Errors = []wire.Invalid{{Location: a.location(where), Message: message}}
		return p
	}
	if !utf8.Valid(body) || loneSurrogate(body) {
		return bad("body", "is not valid UTF-8")
	}
	s := &scanner{tokens: json.NewDecoder(bytes.NewReader(body))}
	s.tokens.UseNumber()
	if where, message := s.value("body", 0, false); message != "" {
		return bad(where, message)
	}
	return nil
}

// scanner walks through a JSON text that is known to be valid.
type scanner struct{ tokens *json.Decoder }

// value reads one value, found at where. It returns where something is wrong, and what;
// an empty message means that nothing is.
func (s *scanner) value(where string, depth int, foreignText bool) (at, message string) {
	token, err := s.tokens.Token()
	if err != nil {
		return where, "is not readable"
	}
	if depth > maxDepth {
		return where, "is nested more than " + strconv.Itoa(maxDepth) + " deep"
	}
	switch token := token.(type) {
	case string:
		if !foreignText && !printable.Is(token) {
			return where, "has a control character or an invisible one"
		}
	case json.Delim:
		if token == '{' {
			return s.object(where, depth, foreignText)
		}
		for i := 0; s.tokens.More(); i++ {
			if at, message = s.value(where+"["+strconv.Itoa(i)+"]", depth+1, foreignText); message != "" {
				return at, message
			}
		}
		_, err = s.tokens.Token() // the list's end
	}
	if err != nil {
		return where, "is not readable"
	}
	return "", ""
}

func (s *scanner) object(where string, depth int, foreignText bool) (at, message string) {
	seen := map[string]bool{}
	for s.tokens.More() {
		token, err := s.tokens.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return where, "is not readable"
		}
		at := where + "." + name
		if seen[name] {
			return at, "is given twice"
		}
		seen[name] = true
		if at, message := s.value(at, depth+1, foreignText || depth == 0 && name == foreign); message != "" {
			return at, message
		}
	}
	if _, err := s.tokens.Token(); err != nil && err != io.EOF {
		return where, "is not readable"
	}
	return "", ""
}

// loneSurrogate reports whether a valid JSON text has an escape for half of a
// character, which parsers read differently.
func loneSurrogate(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // the escaped character
		switch unit := escapedUnit(text[i:]); {
		case unit < 0xd800 || unit > 0xdfff:
		case unit < 0xdc00 && i+5 < len(text) && text[i+5] == '\\' && inLowHalf(escapedUnit(text[i+6:])):
			i += 10
		default:
			return true
		}
	}
	return false
}

func inLowHalf(unit int) bool { return unit >= 0xdc00 && unit <= 0xdfff }

// escapedUnit reads uXXXX at the beginning of text; it returns -1 for anything else.
func escapedUnit(text []byte) int {
	if len(text) < 5 || text[0] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[1:5]), 16, 16)
	if err != nil {
		return -1
	}
	return int(unit)
}
