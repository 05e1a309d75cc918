package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/perennial-oauth/perennial/seal"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

// State is the result of a check.
type State string

// The states, from good to bad.
const (
	Well    State = "well"
	Warning State = "warning" // works, and somebody should look at it
	Unknown State = "unknown" // could not be checked
	Wrong   State = "wrong"   // connections are, or will be, in trouble
)

// States lists the states from good to bad.
var States = []State{Well, Warning, Unknown, Wrong}

// Finding is one thing that a check saw.
type Finding struct {
	Check string `json:"check"` // the check's name; one check may have several findings
	State State  `json:"state"`
	Seen  string `json:"seen"`
	Do    string `json:"do,omitempty"` // the step to take; empty if none is needed
}

// Report is the result of all checks, in the order of their list.
type Report struct {
	At       time.Time `json:"at"`    // by this machine's clock
	State    State     `json:"state"` // the worst of the findings
	Findings []Finding `json:"findings"`
}

// Count returns how many findings have a state.
func (r Report) Count(state State) (n int) {
	for _, f := range r.Findings {
		if f.State == state {
			n++
		}
	}
	return n
}

// Sources says what to look at. Run calls each of its functions once; whoever
// gives them closes what they return, after Run has returned.
type Sources struct {
	Config    *config.Config
	Namespace string // Temporal's
	Database  func(context.Context) (*db.DB, error)
	Keys      func(context.Context) (*seal.Keyring, error)
	Temporal  func(context.Context) (client.Client, error)
	Converter converter.DataConverter // Temporal's client's; nil: the SDK's
	Binding   ReadBinding
	Timeout   time.Duration // of each check; 0: 5 s
}

// Run makes every check. It takes at most Timeout and a second, whatever hangs.
func Run(ctx context.Context, s Sources) Report {
	return run(ctx, s, checks)
}

func run(ctx context.Context, s Sources, list []check) Report {
	timeout := cmp.Or(s.Timeout, 5*time.Second)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := newParts(ctx, s)
	results := make([]chan []Finding, len(list))
	for i, c := range list {
		results[i] = make(chan []Finding, 1)
		go func() { results[i] <- c.findings(ctx, p) }()
	}
	out := Report{At: time.Now().UTC().Truncate(time.Millisecond), State: Well, Findings: []Finding{}}
	late := time.After(timeout + time.Second) // a check that ends with ctx says more than this
	for i, c := range list {
		select {
		case found := <-results[i]:
			out.Findings = append(out.Findings, found...)
		case <-late:
			late = closed // the rest has had its time too
			select {
			case found := <-results[i]:
				out.Findings = append(out.Findings, found...)
			default:
				out.Findings = append(out.Findings, Finding{c.name, Unknown, fmt.Sprintf("not checked: it did not end within %s", timeout), "run it again"})
			}
		}
	}
	for _, f := range out.Findings {
		if slices.Index(States, f.State) > slices.Index(States, out.State) {
			out.State = f.State
		}
	}
	return out
}

// closed is a time that has come.
var closed = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// check is one function of the list. It returns its findings; with an error, those
// is not all.
type check struct {
	name string
	look func(context.Context, *parts) ([]Finding, error)
}

func (c check) findings(ctx context.Context, p *parts) []Finding {
	out, err := c.look(ctx, p)
	if err != nil {
		out = append(out, notChecked(err))
	}
	for i := range out {
		out[i].Check, out[i].Seen, out[i].Do = c.name, clip(out[i].Seen), clip(out[i].Do)
	}
	return out
}

// notChecked says why a check did not end.
func notChecked(err error) Finding {
	f := Finding{State: Unknown, Seen: "not checked: " + oneLine(err)}
	var missing *missingPart
	switch {
	case errors.As(err, &missing): // another line says what to do
	case denied(err):
		f.Do = "give this program's Temporal credentials the permission, see the line `permissions`"
	case errors.Is(err, context.DeadlineExceeded), unreachable.Is(err):
		f.Do = "run it again; if it stays so, look at the server's load"
	}
	return f
}

// oneLine writes an error that joins several.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

// maxText bounds a text of a finding, in bytes: rows and servers may hold long ones.
const maxText = 600

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + " ..."
}

func well(format string, args ...any) Finding {
	return Finding{State: Well, Seen: fmt.Sprintf(format, args...)}
}

func warning(do, format string, args ...any) Finding {
	return Finding{State: Warning, Seen: fmt.Sprintf(format, args...), Do: do}
}

func wrong(do, format string, args ...any) Finding {
	return Finding{State: Wrong, Seen: fmt.Sprintf(format, args...), Do: do}
}

func one(f Finding) ([]Finding, error) { return []Finding{f}, nil }

// atMost writes a number that was counted up to limit.
func atMost(n, limit int64) string {
	if n >= limit {
		return fmt.Sprintf("at least %d", limit)
	}
	return fmt.Sprint(n)
}

// some names the first of several ids or names.
func some(names []string) string {
	const shown = 3
	slices.Sort(names)
	names = slices.Compact(names)
	if more := len(names) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}

func ids(cs []perennial.Connection) (out []string) {
	for _, c := range cs {
		out = append(out, c.ID)
	}
	return out
}

// instant writes a time as the other commands do.
func instant(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
