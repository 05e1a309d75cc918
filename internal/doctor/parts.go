package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc/codes"
)

// parts holds the database, the keys and Temporal for the checks. Each is opened once,
// beside the others.
type parts struct {
	cfg       *config.Config
	namespace string
	database  *part[*db.DB]
	keys      *part[*seal.Keyring]
	temporal  *part[client.Client]
	converter converter.DataConverter
	binding   ReadBinding
}

// newParts begins to open the sources.
func newParts(ctx context.Context, s Sources) *parts {
	if s.Converter == nil {
		s.Converter = converter.GetDefaultDataConverter()
	}
	return &parts{cfg: s.Config, namespace: s.Namespace, binding: s.Binding, converter: s.Converter,
		database: open(ctx, "the database", s.Database), keys: open(ctx, "the keys", s.Keys), temporal: open(ctx, "Temporal", s.Temporal)}
}

// rows returns the connections, if the database is open and has them.
func (p *parts) rows(ctx context.Context) (*store.Store, error) {
	d, err := p.database.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.CheckSchema(ctx); perennial.CodeOf(err) == perennial.CodeSchema {
		return nil, &missingPart{"its schema", errors.New("is out of range")}
	}
	return store.New(d), nil
}

// part is something that is being opened.
type part[T any] struct {
	name   string
	opened chan struct{} // closed once value or err is set
	value  T
	err    error
}

func open[T any](ctx context.Context, name string, do func(context.Context) (T, error)) *part[T] {
	p := &part[T]{name: name, opened: make(chan struct{})}
	go func() {
		defer close(p.opened)
		p.value, p.err = do(ctx)
	}()
	return p
}

// get waits until the part is open. If it could not be opened, the error is a
// missingPart; [part.reason] says why.
func (p *part[T]) get(ctx context.Context) (T, error) {
	var none T
	if err := p.reason(ctx); err != nil {
		return none, &missingPart{p.name, errors.New("could not be opened")}
	}
	return p.value, nil
}

// reason waits until the part is open, and returns why it could not be opened.
func (p *part[T]) reason(ctx context.Context) error {
	select {
	case <-p.opened:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s does not answer: %w", p.name, ctx.Err())
	}
}

// missingPart is the error of a check that needs a part which could not be opened.
type missingPart struct {
	name string
	why  error
}

func (m *missingPart) Error() string { return m.name + " " + m.why.Error() }
func (m *missingPart) Unwrap() error { return m.why }

// unopened is the finding of a part that could not be opened. A server that does not
// answer is unknown: it says nothing about its contents.
func unopened(err error, do string) Finding {
	f := wrong("", "%s", oneLine(err)) // the error says what to do
	if unreachable.Is(err) || perennial.CodeOf(err) == perennial.CodeUnavailable {
		f.State, f.Do = Unknown, do
	}
	if denied(err) {
		f = wrong("check TEMPORAL_API_KEY, the TEMPORAL_TLS_* settings and what this identity may do", "Temporal refuses this program: %s", oneLine(err))
	}
	return f
}

// denied reports whether Temporal answered that this program may not do that.
func denied(err error) bool {
	code := codeOf(err)
	return code == codes.PermissionDenied || code == codes.Unauthenticated
}

// codeOf returns the code of a reply of Temporal.
func codeOf(err error) codes.Code {
	for ; err != nil; err = errors.Unwrap(err) {
		if code := serviceerror.ToStatus(err).Code(); code != codes.Unknown {
			return code
		}
	}
	return codes.OK
}
