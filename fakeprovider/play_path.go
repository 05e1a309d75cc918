package fakeprovider

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// shape is a reply's body as values, and how it is written.
type shape struct {
	guard string // what stands before the JSON
	form  bool   // a form instead of JSON
	root  any
}

// readShape reads a sample reply. It returns nil for a body that is neither an object
// nor a form.
func readShape(body string) *shape {
	at := strings.IndexAny(body, "{[")
	if at >= 0 && !strings.ContainsAny(body[:at], `="`) {
		s := &shape{guard: body[:at]}
		decoder := json.NewDecoder(strings.NewReader(body[at:]))
		decoder.UseNumber()
		if err := decoder.Decode(&s.root); err != nil {
			return nil
		}
		return s
	}
	values, err := url.ParseQuery(strings.TrimSpace(body))
	if err != nil || !strings.Contains(body, "=") {
		return nil
	}
	members := map[string]any{}
	for name := range values {
		members[name] = values.Get(name)
	}
	return &shape{form: true, root: members}
}

// write returns the body.
func (s *shape) write() []byte {
	if !s.form {
		var out bytes.Buffer
		out.WriteString(s.guard)
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(s.root) // what was read as JSON can be written
		return out.Bytes()
	}
	values := url.Values{}
	members, _ := s.root.(map[string]any)
	for name, v := range members {
		values.Set(name, textOf(v))
	}
	return []byte(values.Encode())
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// get returns the value at a path, nil if there is none. A * stands for the first element of a
// list.
func get(v any, path []string) any {
	for _, name := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, ok := index(name)
			if !ok || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func index(name string) (i int, ok bool) {
	if name == "*" {
		return 0, true
	}
	i, err := strconv.Atoi(name)
	return i, err == nil && 0 <= i && i < maxList
}

// maxList bounds the lists that a path makes.
const maxList = 100

// set returns v with value at a path. It makes the objects and lists that are missing,
// and leaves everything else as it is.
func set(v any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	i, numbered := index(path[0])
	if list, ok := v.([]any); ok && numbered || v == nil && numbered {
		list = slices.Clone(list)
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i] = set(list[i], path[1:], value)
		return list
	}
	members, _ := v.(map[string]any)
	members = maps.Clone(members)
	if members == nil {
		members = map[string]any{}
	}
	members[path[0]] = set(members[path[0]], path[1:], value)
	return members
}

// remove returns v without the member at a path.
func remove(v any, path []string) any {
	members, ok := v.(map[string]any)
	if !ok || len(path) == 0 {
		return v
	}
	members = maps.Clone(members)
	if len(path) == 1 {
		delete(members, path[0])
	} else {
		members[path[0]] = remove(members[path[0]], path[1:])
	}
	return members
}

// find returns the path of a member, in RFC 6749's way of writing or another one, at v
// or below it; nil for none. The shallowest counts, and null is none.
func find(v any, name string) []string {
	for depth := range 6 {
		if path := findAt(v, name, depth); path != nil {
			return path
		}
	}
	return nil
}

func findAt(v any, name string, depth int) []string {
	switch in := v.(type) {
	case map[string]any:
		for _, member := range slices.Sorted(maps.Keys(in)) {
			if depth == 0 && in[member] != nil && plain(member) == plain(name) {
				return []string{member}
			}
			if depth > 0 {
				if path := findAt(in[member], name, depth-1); path != nil {
					return append([]string{member}, path...)
				}
			}
		}
	case []any:
		for i, one := range in {
			if path := findAt(one, name, depth-1); depth > 0 && path != nil {
				return append([]string{strconv.Itoa(i)}, path...)
			}
		}
	}
	return nil
}

// plain returns the letters and digits of a member's name in lower case.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// split splits a path of a description.
func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}
