package doctor

import "context"

// RunOnly makes checks that hang, fail or answer instead of the real ones.
func RunOnly(ctx context.Context, s Sources, list map[string]func(context.Context) ([]Finding, error)) Report {
	var all []check
	for name, look := range list {
		all = append(all, check{name, func(ctx context.Context, _ *parts) ([]Finding, error) { return look(ctx) }})
	}
	return run(ctx, s, all)
}

// Names lists the checks.
func Names() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// The decisions about servers' answers.
var (
	LastPass   = lastPass
	Living     = living
	AboutClock = aboutClock
	Transport  = transport
)

// Calls lists the calls that are tried.
func Calls() (names []string) {
	for _, c := range calls {
		names = append(names, c.name)
	}
	return names
}
