package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/internal/golden"
)

// TestGoldenSettings: the settings of perennial.yaml. A variable is PERENNIAL_ and the
// setting's name in capitals.
func TestGoldenSettings(t *testing.T) {
	t.Parallel()
	var names []string
	var walk func(reflect.Type, string)
	walk = func(t reflect.Type, prefix string) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for i := range t.NumField() {
			if !t.Field(i).IsExported() && !t.Field(i).Anonymous {
				continue
			}
			key, inline, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if inline == "inline" {
				walk(t.Field(i).Type, prefix)
				continue
			}
			names = append(names, prefix+key+" ("+t.Field(i).Type.Kind().String()+")")
			walk(t.Field(i).Type, prefix+key+".")
		}
	}
	walk(reflect.TypeFor[file](), "")
	slices.Sort(names)
	golden.JSON(t, "settings", names)
}
