package store

import (
	"sync"
	"time"
)

// successes remembers when this process last saved tokens for each app and host, by the
// database's clock. The zero value is empty. It is safe for concurrent use.
type successes struct {
	mu sync.Mutex
	at map[appHost]time.Time
}

type appHost struct{ app, host string }

// maxSuccesses bounds the memory for providers with a host for each account. After it
// forgets everything, the next question goes to the database, see
// [Store.succeededSince].
const maxSuccesses = 10_000

func (s *successes) note(app, host string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil || len(s.at) >= maxSuccesses {
		s.at = map[appHost]time.Time{}
	}
	s.at[appHost{app, host}] = at
}

// last returns the zero time if this process remembers no success.
func (s *successes) last(app, host string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[appHost{app, host}]
}
