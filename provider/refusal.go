package provider

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// refusal is what a reply says about an error, raw: not yet bounded or redacted.
type refusal struct {
	// code is the error code (RFC 6749 section 5.2, or the provider's own), as people
	// see it.
	code string
	// codes are all that may be error codes, the most specific first.
	codes []string
	texts []string // for people; the first is the description
}

// The bounds of what is read of one refusal.
const (
	maxCodes = 32
	maxPlain = 512 // bytes of a body that is only text
)

// The members in which providers put error codes and texts. A code in otherCodes also
// comes with success ("code": 0), so it alone makes no reply a refusal.
var (
	errorCodes = []string{"error", "category", "errorType", "error_code"}
	otherCodes = []string{"code", "errorCode", "errcode", "type", "status", "suberror", "error_subtype"}
	errorTexts = []string{"error_description", "message", "reason", "errorMessage", "error_message", "errorSummary", "detail", "title", "hint", "msg"}
)

// description returns the text for people.
func (r refusal) description() string {
	if len(r.texts) == 0 {
		return ""
	}
	return r.texts[0]
}

// readRefusal finds the error in the places where providers put it. A member that is no
// text or number is not a code.
func readRefusal(m map[string]any) refusal {
	var r refusal
	r.addTexts(m)
	if s := text(m["status"]); strings.HasPrefix(s, "BAD_") {
		r.addCode(s) // HubSpot's own code says more than RFC 6749's in error
	}
	r.add(m["error"])
	for _, name := range errorCodes[1:] {
		r.addCode(text(m[name]))
	}
	r.add(m["errors"])
	if fault, ok := m["fault"].(map[string]any); ok { // Apigee
		r.addText(text(fault["faultstring"]))
		if detail, ok := fault["detail"].(map[string]any); ok {
			r.addCode(text(detail["errorcode"]))
		}
	}
	if len(r.codes) > 0 {
		r.code = r.codes[0]
	}
	for _, name := range otherCodes {
		r.addCode(text(m[name]))
	}
	return r
}

// add reads an error that is a text, an object, or a list of them.
func (r *refusal) add(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"code", "type", "status", "reason", "errorCode"} {
			r.addCode(text(v[name]))
		}
		nested := refusal{}
		nested.addTexts(v)
		for _, name := range []string{"description", "resource", "field"} { // Strava names what is invalid
			nested.addText(text(v[name]))
		}
		r.texts = append(nested.texts, r.texts...) // what stands beside the code describes it
	case []any:
		for _, one := range v[:min(len(v), maxCodes)] {
			if _, list := one.([]any); !list {
				r.add(one)
			}
		}
	default:
		code, rest, split := strings.Cut(text(v), ":") // "invalid_client: Invalid client_id"
		if _, known := standardByKey[squeeze(code)]; split && known {
			r.addCode(code)
			r.addText(rest)
			return
		}
		r.addCode(text(v))
	}
}

func (r *refusal) addCode(s string) {
	if s = strings.TrimSpace(s); s != "" && len(r.codes) < maxCodes {
		r.codes = append(r.codes, s)
	}
}

func (r *refusal) addText(s string) {
	if s = strings.TrimSpace(s); s != "" && len(r.texts) < maxCodes {
		r.texts = append(r.texts, s)
	}
}

func (r *refusal) addTexts(m map[string]any) {
	for _, name := range errorTexts {
		r.addText(text(m[name]))
	}
}

// plainRefusal reads a body that is neither an object nor a form: a code alone, as text
// or as JSON, or a list of errors. It believes only what it knows, so that no page and
// no half of a token reply becomes a refusal.
func plainRefusal(body []byte) refusal {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || len(body) > maxPlain || !utf8.Valid(body) || body[0] == '<' || body[0] == '{' {
		return refusal{}
	}
	var r refusal
	var v any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil || decoder.More() {
		v = string(body)
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		if first, ok := list[0].(map[string]any); ok {
			r = readRefusal(first)
		}
	}
	r.add(v)
	r.texts = append(r.texts, r.codes...)
	for _, code := range r.codes {
		key := squeeze(code)
		if _, known := standardByKey[key]; known || wrongClientByKey[key] {
			r.code = code
			return r
		}
	}
	if clearPhrase(strings.Join(r.texts, " ")) == "" {
		return refusal{}
	}
	r.code, r.codes = "", nil
	return r
}
