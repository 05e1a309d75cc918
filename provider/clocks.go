package provider

import "time"

// clocks reads the times after which tokens and grants end.
func (o overlay) clocks() {
	o.span("refresh_within", o.d.RefreshWithin, &o.e.RefreshWithin)
	o.span("default_lifetime", o.d.DefaultLifetime, &o.e.DefaultLifetime)
	o.clock("idle_lifetime", o.d.IdleLifetime, &o.e.IdleLifetime)
	o.clock("grant_lifetime", o.d.GrantLifetime, &o.e.GrantLifetime)
}

// noClock is written for a clock that an app's settings at the provider have turned off.
const noClock Span = "none"

// clock reads a clock that an app's settings at the provider may set or turn off.
func (o overlay) clock(key string, from Span, to *time.Duration) {
	switch _, ok := from.duration(); {
	case from == noClock:
		*to = 0
	case from != "" && !ok:
		o.report(key, "must be a duration above zero, for example "+spanForm+", or none")
	default:
		o.span(key, from, to)
	}
}

func (o overlay) span(key string, from Span, to *time.Duration) {
	if from == "" {
		return
	}
	d, ok := from.duration()
	if !ok {
		o.report(key, "must be a duration above zero, for example "+spanForm)
		return
	}
	*to = d
}
