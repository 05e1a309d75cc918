package db

import (
	"fmt"
	"time"
)

// Time converts a nullable time; null becomes the zero time.
func Time(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// Nullable converts a time for a write: the zero time becomes null; others become UTC
// with the microseconds that PostgreSQL keeps.
func Nullable(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Microsecond)
}

// Wrap puts doing before an error. It returns nil for nil.
func Wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
