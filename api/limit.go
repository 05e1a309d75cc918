package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits limits the rate of each key in this process. It is safe for concurrent use.
type limits struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	ofKey map[string]*rate.Limiter
}

func newLimits(perSecond float64, burst int) *limits {
	return &limits{rate: rate.Limit(perSecond), burst: burst, ofKey: map[string]*rate.Limiter{}}
}

// take counts a request of a key. If it exceeds the limit, wait is how long to wait.
func (l *limits) take(key string, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	limiter := l.ofKey[key]
	if limiter == nil {
		if len(l.ofKey) >= maxKeys {
			clear(l.ofKey)
		}
		limiter = rate.NewLimiter(l.rate, l.burst)
		l.ofKey[key] = limiter
	}
	l.mu.Unlock()
	if limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - limiter.TokensAt(now)
	return time.Duration(missing / float64(l.rate) * float64(time.Second)), false
}
