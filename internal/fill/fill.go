// Package fill gives tests values in which every field is set, and finds the fields
// that a copy left out.
package fill

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Values sets every exported field of the struct that v points to, and of every struct
// in it, to a value that is not zero and that hardly any other field has: it follows
// from the field's name in JSON. A slice or map gets one element. Functions, channels
// and interfaces stay as they are, and so do the fields of a struct that is in itself.
func Values(v any) { set(reflect.ValueOf(v).Elem(), "value", nil) }

// Of returns a T that [Values] filled.
func Of[T any]() T {
	var v T
	Values(&v)
	return v
}

var timeType = reflect.TypeFor[time.Time]()

// numberOf is a number from 1 to 997 for a name.
func numberOf(name string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return int64(h.Sum32()%997) + 1
}

func set(v reflect.Value, name string, within []reflect.Type) {
	if !v.CanSet() && (v.Kind() != reflect.Struct || v.Type() == timeType) {
		return // the exported fields of an embedded struct can be set, whatever its name
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(numberOf(name))
	case reflect.Uint8:
		v.SetUint(uint64(numberOf(name)%255) + 1)
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(numberOf(name)))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(numberOf(name)))
	case reflect.Pointer:
		if !slices.Contains(within, v.Type().Elem()) {
			v.Set(reflect.New(v.Type().Elem()))
			set(v.Elem(), name, within)
		}
	case reflect.Slice:
		if !slices.Contains(within, v.Type().Elem()) {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			set(v.Index(0), name, within)
		}
	case reflect.Array:
		for i := range v.Len() {
			set(v.Index(i), name, within)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		set(key, name+" key", within)
		set(value, name, within)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(numberOf(name)) * time.Minute)))
			return
		}
		within = append(within[:len(within):len(within)], v.Type())
		for i := range v.NumField() {
			set(v.Field(i), nameOf(v.Type().Field(i)), within)
		}
	}
}

// nameOf returns a field's name in JSON, or its Go name if JSON leaves it out.
func nameOf(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
		return name
	}
	return f.Name
}

// Zeros names the exported fields of the struct v that are zero, those of embedded
// structs among them: the fields that a copy into v left out.
func Zeros(v any) []string { return zerosOf(v, reflect.StructField.IsExported) }

// AllZeros is [Zeros] with the fields that are not exported among them.
func AllZeros(v any) []string { return zerosOf(v, func(reflect.StructField) bool { return true }) }

func zerosOf(v any, counts func(reflect.StructField) bool) []string {
	var names []string
	zeros(reflect.Indirect(reflect.ValueOf(v)), counts, &names)
	return names
}

func zeros(v reflect.Value, counts func(reflect.StructField) bool, names *[]string) {
	if v.Kind() != reflect.Struct {
		panic(fmt.Sprintf("fill: %s is no struct", v.Type()))
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch {
		case field.Anonymous && field.Type.Kind() == reflect.Struct:
			zeros(v.Field(i), counts, names)
		case counts(field) && v.Field(i).IsZero():
			*names = append(*names, field.Name)
		}
	}
}

// Names returns the names of T's exported fields, with those of embedded structs in
// their place. T is a struct.
func Names[T any]() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct) {
			names = append(names, f.Name)
		}
	}
	return names
}

// Clear sets the named field of the struct that v points to to its zero value.
func Clear(v any, name string) { reflect.ValueOf(v).Elem().FieldByName(name).SetZero() }
