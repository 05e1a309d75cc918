// Package knownwrong states in tests what the code does wrong today, so that a mend is
// noticed and a new fault is not taken for the old one.
package knownwrong

import (
	"reflect"
	"testing"
)

// Check passes while got is today's wrong value. It fails when got is right: then the
// case has been mended and must assert want. It fails when got is neither.
func Check[T any](t testing.TB, got, want, today T) {
	t.Helper()
	switch {
	case reflect.DeepEqual(want, today):
		t.Errorf("the case says that %+v is both right and wrong", want)
	case reflect.DeepEqual(got, want):
		t.Errorf("mended: %+v is right. Assert it, and take this case from the known wrong ones", got)
	case !reflect.DeepEqual(got, today):
		t.Errorf("neither right (%+v) nor wrong in the known way (%+v): %+v", want, today, got)
	}
}

// Equal asserts that got equals want. If today is given, it asserts instead that got
// still equals that wrong value, see [Check].
func Equal[T any](t testing.TB, got, want T, today ...T) {
	t.Helper()
	if len(today) > 0 {
		Check(t, got, want, today[0])
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
}
