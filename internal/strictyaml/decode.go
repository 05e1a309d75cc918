// Package strictyaml decodes YAML that people write. It names the line of every problem
// and the known key that is nearest to an unknown one. No text repeats a value: people
// paste secrets into wrong places.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
	"go.yaml.in/yaml/v3"
)

// Problem is something wrong with a document.
type Problem struct {
	Line int // 0: of no line
	Text string
}

// Document is what Decode learnt beside the values.
type Document struct {
	Lines    map[string]int // of each key and list element: "apps.0.token_url"
	Wrong    map[int]bool   // lines with a value of the wrong type
	Problems []Problem
	// Unread: a part of the document could not be read, so a key that seems to be
	// missing may be in it.
	Unread bool
}

// Line returns the line of a key. If the document does not have it, the line is that of
// its nearest parent; 0: of none.
func (d *Document) Line(key string) int {
	line := d.Lines[key]
	for line == 0 && strings.Contains(key, ".") {
		key = key[:strings.LastIndex(key, ".")]
		line = d.Lines[key]
	}
	return line
}

// Join makes one error of problems, with a line for each in the order of the document;
// those of no line come last. Each is an error of [perennial.CodeInvalid] that begins
// with the file.
func Join(file string, problems []Problem) error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if a.Line == 0 || b.Line == 0 {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Compare(a.Line, b.Line)
	})
	var errs []error
	for _, p := range problems {
		where := file
		if p.Line > 0 {
			where += ":" + strconv.Itoa(p.Line)
		}
		errs = append(errs, perennial.Errorf(perennial.CodeInvalid, "%s: %s", where, p.Text))
	}
	return errors.Join(errs...)
}

// Decode reads one document into a pointer to a struct. An empty document is none, and
// leaves the struct as it is.
func Decode(raw []byte, into any) *Document {
	d := &Document{Lines: map[string]int{}, Wrong: map[int]bool{}}
	var root, more yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(raw))
	if err := documents.Decode(&root); errors.Is(err, io.EOF) {
		return d
	} else if err != nil {
		d.unreadable(err)
		return d
	}
	if err := documents.Decode(&more); !errors.Is(err, io.EOF) {
		d.problem(0, "holds more than one YAML document; only one is read")
	}
	for _, top := range root.Content {
		d.index("", top)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	err := decoder.Decode(into)
	if types, ok := errors.AsType[*yaml.TypeError](err); ok {
		known := map[string][]string{}
		keysOf(reflect.TypeOf(into), known)
		for _, text := range types.Errors {
			d.wrongType(text, known)
		}
		return d
	}
	if err != nil {
		d.unreadable(err)
	}
	return d
}

func (d *Document) problem(line int, text string) {
	d.Problems = append(d.Problems, Problem{line, text})
}

// index records the line of every key. It does not follow aliases, whose values have no
// line of their own here.
func (d *Document) index(at string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := join(at, n.Content[i].Value)
			d.Lines[key] = n.Content[i].Line
			d.index(key, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, element := range n.Content {
			key := join(at, strconv.Itoa(i))
			d.Lines[key] = element.Line
			d.index(key, element)
		}
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

var (
	atLine       = regexp.MustCompile(`^line (\d+): (.*)$`)
	unknownField = regexp.MustCompile(`^field (.+) not found in type (\S+)$`)
	givenTwice   = regexp.MustCompile(`already defined at line (\d+)$`)
	wrongKind    = regexp.MustCompile(`^cannot unmarshal !!(\w+)`)
	plainWords   = regexp.MustCompile(`^[a-z ,-]+$`)
)

// unreadable repeats the parser's words only if they are its own.
func (d *Document) unreadable(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := atLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // 0 if it is no number
		text = m[2]
	}
	if plainWords.MatchString(text) {
		text = ": " + text
	} else {
		text = ""
	}
	d.Unread = true
	d.problem(line, "not readable as YAML"+text)
}

func (d *Document) wrongType(text string, known map[string][]string) {
	line := 0
	if m := atLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // 0 if it is no number
		text = m[2]
	}
	says := "this value is not usable here"
	if m := unknownField.FindStringSubmatch(text); m != nil {
		says = "unknown key " + Shown(m[1]) + DidYouMean(m[1], known[m[2]])
	} else if m := givenTwice.FindStringSubmatch(text); m != nil {
		says = "this key is given already at line " + m[1]
		d.Unread = true // the parser skipped the keys beside it
	} else if m := wrongKind.FindStringSubmatch(text); m != nil {
		says = "this key does not take " + cmp.Or(kinds[m[1]], "such a value")
	}
	d.Wrong[line] = true
	d.problem(line, says)
}

var kinds = map[string]string{"map": "keys of its own", "seq": "a list"}

// keysOf adds the keys of a type, and of every type inside, under the types' names.
func keysOf(t reflect.Type, known map[string][]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		keysOf(t.Elem(), known)
	case reflect.Struct:
		if _, done := known[t.String()]; done {
			return
		}
		known[t.String()] = Keys(t)
		for field := range t.Fields() {
			keysOf(field.Type, known)
		}
	}
}

// Keys returns the keys of a struct in the order of its fields, with those of structs
// that are inline.
func Keys(t reflect.Type) []string {
	keys := []string{}
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			keys = append(keys, Keys(field.Type)...)
		case name != "" && name != "-":
			keys = append(keys, name)
		}
	}
	return keys
}
