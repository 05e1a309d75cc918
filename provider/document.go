package provider

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// document is a token endpoint's body, read as values.
type document struct {
	root   any            // JSON, or the members of a form
	top    map[string]any // the members of root, or none
	read   bool           // the body was JSON or a form
	broken bool           // the body breaks off, or stops being JSON: more members may have followed
	page   bool           // the body is markup
}

// readDocument reads a body: JSON or a form, in any of the clothes in which servers were
// seen to send it. whole says that the body has arrived to its end.
//
// A body that breaks off gives the members that are complete: a JSON value has an end of
// its own, and a member of a form ends where the next one begins.
func readDocument(body []byte, whole bool) document {
	text, proven, broken := decoded(body)
	text = withoutBytes(trimmed(text))
	whole = (whole || proven) && !broken
	d := document{broken: !whole, page: isMarkup(text)}
	switch {
	case len(text) == 0:
		return document{}
	case bytes.IndexByte([]byte(`{["`), text[0]) >= 0:
		d.json(text, maxQuoted)
		if d.broken && whole {
			d.salvage(text)
		}
	default:
		form, cut, ok := readForm(text, whole)
		if !ok || d.page {
			form, ok = embedded(text)
		}
		if ok {
			d.root, d.top, d.read, d.broken = form, form, true, cut
		}
	}
	return d
}

// maxQuoted bounds how often JSON may stand as text within JSON.
const maxQuoted = 2

// json reads JSON, also JSON that stands as text within JSON. What follows the first
// value does not matter.
func (d *document) json(text []byte, quoted int) {
	d.broken = false // an object that is read to its end is whole, even if the bytes after it are missing
	decoder := newDecoder(text)
	if err := decoder.Decode(&d.root); err != nil {
		p := newParser(text)
		d.root, d.broken = p.value(0), true
	}
	if inner, ok := d.root.(string); ok && quoted > 0 && strings.HasPrefix(strings.TrimSpace(inner), "{") {
		d.json([]byte(inner), quoted-1)
		return
	}
	d.top, _ = d.root.(map[string]any)
	_, list := d.root.([]any)
	d.read = len(d.top) > 0 || !d.broken && (d.top != nil || list)
}

// quotedMember matches a text member of an object, also in the quotes of other
// languages.
var quotedMember = regexp.MustCompile(`["']([A-Za-z_]+)["']\s*:\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')`)

// salvage reads the tokens of a body that has arrived to its end and looks like JSON but
// is not: with a line break within a text, a wrong escape, other quotes. It takes a
// token only if its name stands in the whole body once, so that the two tokens cannot be
// of two grants.
func (d *document) salvage(text []byte) {
	found := map[string]any{}
	for _, match := range quotedMember.FindAllSubmatch(text, -1) {
		name, value := string(match[1]), string(match[2])+string(match[3])
		if bytes.IndexByte(match[2], '\\') >= 0 && json.Unmarshal([]byte(`"`+value+`"`), &value) != nil || bytes.IndexByte(match[3], '\\') >= 0 {
			continue
		}
		found[name] = value
	}
	for _, name := range []string{"access_token", "refresh_token"} {
		if bytes.Count(text, []byte(name+`"`))+bytes.Count(text, []byte(name+`'`)) > 1 {
			return
		}
	}
	for _, name := range []string{"access_token", "refresh_token", "token_type", "scope", "expires_in"} {
		if value, ok := found[name]; ok && (d.top == nil || d.top[name] == nil) {
			if d.top == nil {
				d.top = map[string]any{}
			}
			d.top[name], d.read = value, true
		}
	}
}

// parser reads one JSON value. Of a value that breaks off it returns what is complete.
type parser struct {
	decoder *json.Decoder
	size    int64 // of the text
	broken  bool
}

// maxDepth bounds the levels of a value that breaks off.
const maxDepth = 32

func newDecoder(text []byte) *json.Decoder {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder
}

func newParser(text []byte) *parser {
	return &parser{decoder: newDecoder(text), size: int64(len(text))}
}

// value reads the next value. It returns nil if that is incomplete, unless it is an
// object or a list, of which it returns the complete part. A number at the end of the
// text may be incomplete.
func (p *parser) value(depth int) any {
	token, err := p.decoder.Token()
	if err != nil || depth > maxDepth {
		p.broken = true
		return nil
	}
	switch token {
	case json.Delim('{'):
		return p.object(depth)
	case json.Delim('['):
		return p.list(depth)
	}
	if _, number := token.(json.Number); number && p.decoder.InputOffset() == p.size {
		p.broken = true
		return nil
	}
	return token
}

func (p *parser) object(depth int) any {
	members := map[string]any{}
	for p.decoder.More() {
		name, err := p.decoder.Token()
		key, ok := name.(string)
		if err != nil || !ok {
			p.broken = true
			return members
		}
		v := p.value(depth + 1)
		if v != nil {
			members[key] = v
		}
		if p.broken {
			return members
		}
	}
	p.end()
	return members
}

func (p *parser) list(depth int) any {
	list := []any{}
	for p.decoder.More() && !p.broken {
		if v := p.value(depth + 1); v != nil {
			list = append(list, v)
		}
	}
	p.end()
	return list
}

// end reads the end of an object or a list.
func (p *parser) end() {
	if _, err := p.decoder.Token(); err != nil {
		p.broken = true
	}
}

// readForm reads a form, which some servers send. Of a form that is not whole it leaves
// out the last member, which may be cut. A member that is wrongly encoded is left out
// and counts as a break: it may have been a token.
func readForm(text []byte, whole bool) (members map[string]any, cut, ok bool) {
	pairs := strings.Split(string(text), "&")
	if last := len(pairs) - 1; strings.Contains(string(text), "_token=") && (!whole || last > 0 && pairs[last] != "" && !strings.Contains(pairs[last], "=")) {
		pairs, cut = pairs[:last], true
	}
	members = map[string]any{}
	for _, pair := range pairs {
		name, value, given := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		_, again := members[name]
		switch {
		case err != nil:
			cut = true
		case given && !again:
			members[name] = value
		}
	}
	_, token := members["access_token"]
	_, refresh := members["refresh_token"]
	_, refused := members["error"]
	return members, cut, token || refresh || refused
}

// snakeCase returns the members with those that are written in another case
// (accessToken, Access-Token) added under RFC 6749's way of writing. It adds none that
// is there already, or that two members would be.
func snakeCase(members map[string]any) map[string]any {
	added := map[string]any{}
	count := map[string]int{}
	for name, v := range members {
		if snake := toSnake(name); snake != name {
			added[snake] = v
			count[snake]++
		}
	}
	if len(added) == 0 {
		return members
	}
	for name, v := range members {
		added[name] = v
	}
	for name, n := range count {
		if _, own := members[name]; !own && n > 1 {
			delete(added, name)
		}
	}
	return added
}

func toSnake(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsUpper(r) || r == '-' }) {
		return name
	}
	var out strings.Builder
	var before rune
	for _, r := range name {
		if unicode.IsUpper(r) && (unicode.IsLower(before) || unicode.IsDigit(before)) {
			out.WriteByte('_')
		}
		before = r
		if r == '-' {
			r = '_'
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
