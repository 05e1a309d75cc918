package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// Pins keeps what was read first: [store.Store] in production.
type Pins interface {
	ProviderMetadata(ctx context.Context, app, source string) (store.ProviderMetadata, error)
	AllProviderMetadata(ctx context.Context) ([]store.ProviderMetadata, error)
	PinProviderMetadata(ctx context.Context, app, source, document string, next time.Duration) (store.ProviderMetadata, error)
	ClaimMetadataCheck(ctx context.Context, app, source string, again time.Duration) (bool, error)
	NoteMetadataCheck(ctx context.Context, c store.MetadataCheck) (news bool, err error)
}

// Reader reads what a source says: [Fetcher] in production.
type Reader interface {
	Read(ctx context.Context, s Source) (Metadata, error)
}

// Config configures a [Service].
type Config struct {
	Pins         Pins
	Reader       Reader
	Apps         []provider.App // those of the configuration
	AllowPrivate bool           // endpoints may be on private networks
	Every        time.Duration  // between two checks of one app. Defaults to a day.

	// Clients, Registrar, Sealer and BaseURL are for apps whose server registers their
	// client. BaseURL is that of the connect pages, Product the name of the product there.
	Clients   Clients
	Registrar Registrar
	Sealer    Sealer
	BaseURL   string
	Product   string

	Log *slog.Logger
}

// Service completes the apps whose providers describe themselves. It is safe for
// concurrent use.
type Service struct {
	Config
	known map[string]*knownApp // by name
}

// knownApp is what this process knows about an app.
type knownApp struct {
	configured provider.App
	source     Source
	complete   atomic.Pointer[provider.App] // nil: not yet

	mu       sync.Mutex // one caller at a time finds out
	document string     // with which the app is complete
	client   int64      // the number of its registration; 0: it has a client_id
	err      error      // of the last try
	tried    time.Time
}

const (
	lookEvery  = 30 * time.Second // after which other processes' pins count here
	retryAfter = 30 * time.Second // between two tries to read what was never read
	pinTimeout = 5 * time.Second  // of one statement
	checkAgain = time.Hour        // after a check that failed, or never ended
)

// New returns the service for a configuration's apps, nil if none of their providers
// describes itself.
func New(c Config) *Service {
	if c.Every == 0 {
		c.Every = 24 * time.Hour
	}
	s := &Service{Config: c, known: map[string]*knownApp{}}
	for _, app := range c.Apps {
		if source, ok := SourceOf(app); ok {
			s.known[app.Name] = &knownApp{configured: app, source: source}
		}
	}
	if len(s.known) == 0 {
		return nil
	}
	return s
}

// Complete returns a configured app with what its provider says about itself. The first
// caller of the first process reads it there; everybody else gets what was pinned then.
// If nothing is pinned and nothing can be read, the error is of
// [perennial.CodeUnavailable] and says why.
func (s *Service) Complete(app provider.App) (provider.App, error) {
	k := s.known[app.Name]
	if k == nil {
		return app, nil
	}
	if done := k.complete.Load(); done != nil {
		return *done, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if done := k.complete.Load(); done != nil {
		return *done, nil
	}
	if k.err == nil || time.Since(k.tried) > retryAfter {
		k.err = s.find(k)
		k.tried = time.Now()
	}
	if k.err != nil {
		return app, k.err
	}
	return *k.complete.Load(), nil
}

// find completes an app from its pin, or reads its metadata and pins them.
func (s *Service) find(k *knownApp) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout+2*pinTimeout)
	defer cancel()
	pin, err := s.pinned(ctx, k)
	if err != nil {
		return err
	}
	return s.use(ctx, k, pin.Document)
}

// pinned returns an app's pin, and makes it if there is none.
func (s *Service) pinned(ctx context.Context, k *knownApp) (store.ProviderMetadata, error) {
	pin, err := s.Pins.ProviderMetadata(ctx, k.configured.Name, k.source.String())
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return s.pin(ctx, k)
	}
	return pin, err
}

// pin reads the metadata and pins them, unless another process was faster.
func (s *Service) pin(ctx context.Context, k *knownApp) (store.ProviderMetadata, error) {
	name := k.configured.Name
	m, err := s.Reader.Read(ctx, k.source)
	if err != nil {
		return store.ProviderMetadata{}, perennial.Errorf(perennial.CodeUnavailable, "app %s: what its provider says about itself cannot be read: %w", name, err)
	}
	if _, err := Complete(k.configured, m, s.AllowPrivate); err != nil {
		return store.ProviderMetadata{}, err // what cannot be used is not pinned
	}
	pin, err := s.Pins.PinProviderMetadata(ctx, name, k.source.String(), m.encode(), s.next())
	if err == nil {
		s.Log.Info("what a provider says about itself is pinned", "app", name, "read_from", m.From, "token_endpoint", m.TokenEndpoint)
	}
	return pin, err
}

// next returns the wait before the next check: not that of every other app.
func (s *Service) next() time.Duration {
	return s.Every - s.Every/10 + time.Duration(rand.Int64N(int64(s.Every)/5+1))
}

// use completes an app with a pinned document. The caller has locked the app.
func (s *Service) use(ctx context.Context, k *knownApp, document string) error {
	m, err := decode(document)
	if err != nil {
		return err
	}
	done, err := Complete(k.configured, m, s.AllowPrivate)
	if err != nil {
		return err
	}
	if done, k.client, err = s.withClient(ctx, done, m); err != nil {
		return err
	}
	k.document = document
	k.complete.Store(&done)
	return nil
}

// Run looks after the pins until ctx ends: it pins what is not yet pinned, takes over
// what an operator has accepted, and checks each app about once a day, in one process.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := map[string]string{}
	for ctx.Err() == nil {
		for name, err := range s.Look(ctx) {
			if told[name] != err.Error() && ctx.Err() == nil {
				told[name] = err.Error()
				s.Log.Error("an app cannot be used, or is not checked, until its provider's metadata can be read", "app", name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Look does once what [Service.Run] does. It returns the problems by app.
func (s *Service) Look(ctx context.Context) map[string]error {
	problems := map[string]error{}
	ask, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	all, err := s.Pins.AllProviderMetadata(ask)
	pins := map[[2]string]store.ProviderMetadata{}
	for _, p := range all {
		pins[[2]string{p.App, p.Source}] = p
	}
	var mu sync.Mutex
	var each sync.WaitGroup
	for name, k := range s.known {
		if err != nil { // what is known stays
			problems[name] = err
			continue
		}
		each.Go(func() {
			pin, found := pins[[2]string{name, k.source.String()}]
			if err := s.lookAt(ctx, k, pin, found); err != nil {
				mu.Lock()
				defer mu.Unlock()
				problems[name] = err
			}
		})
	}
	each.Wait()
	return problems
}

func (s *Service) lookAt(ctx context.Context, k *knownApp, pin store.ProviderMetadata, found bool) error {
	if !found {
		_, err := s.Complete(k.configured)
		return err
	}
	if err := s.reload(ctx, k, pin); err != nil {
		return err
	}
	return s.check(ctx, k, pin)
}

// reload takes over metadata that an operator has accepted, and a client that another
// process has registered.
func (s *Service) reload(ctx context.Context, k *knownApp, pin store.ProviderMetadata) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	done := k.complete.Load()
	same := done != nil && k.document == pin.Document
	if same && k.client > 0 {
		c, err := s.Clients.ProviderClient(ctx, k.configured.Name, done.Provider.Issuer)
		if err != nil {
			return err
		}
		same = c.Registration == k.client
	}
	if same {
		return nil
	}
	k.err = s.use(ctx, k, pin.Document)
	k.tried = time.Now()
	return k.err
}

// check reads the metadata anew if that is due and nobody else does, and notes what has
// changed.
func (s *Service) check(ctx context.Context, k *knownApp, pin store.ProviderMetadata) error {
	mine, err := s.Pins.ClaimMetadataCheck(ctx, pin.App, pin.Source, checkAgain)
	if err != nil || !mine {
		return err
	}
	return s.compare(ctx, k, pin)
}

// compare reads the metadata and compares them with the pin.
func (s *Service) compare(ctx context.Context, k *knownApp, pin store.ProviderMetadata) error {
	before, err := decode(pin.Document)
	if err != nil {
		return err
	}
	result := store.MetadataCheck{App: pin.App, Source: pin.Source, Pinned: pin.Document, Next: s.next()}
	now, readErr := s.Reader.Read(ctx, k.source)
	var changes []Change
	if readErr != nil {
		result.Problem, result.Next = readErr.Error(), min(checkAgain, s.Every)
	} else if changes = before.Changes(now); len(changes) > 0 {
		result.Changed = now.encode()
	}
	news, err := s.Pins.NoteMetadataCheck(ctx, result)
	if err != nil || !news {
		return err
	}
	if readErr != nil {
		s.Log.Warn("a provider's metadata cannot be read at present; those that are pinned stay in use", "app", pin.App, "error", readErr)
		return nil
	}
	for _, c := range changes {
		s.Log.Warn("a provider's metadata have changed; those that are pinned stay in use until an operator accepts the change", "app", pin.App,
			"member", c.Member, "in_use", c.From, "now", c.To, "accept", "perennial provider accept "+pin.App+" "+ID(result.Changed))
	}
	return nil
}

// CheckNow reads an app's metadata anew, now, and returns what is pinned then.
func (s *Service) CheckNow(ctx context.Context, app string) (store.ProviderMetadata, error) {
	k := s.known[app]
	if k == nil {
		return store.ProviderMetadata{}, perennial.Errorf(perennial.CodeInvalid, "app %s: its provider does not describe itself: the app has no issuer and no mcp, or a token_url of its own", app)
	}
	pin, err := s.pinned(ctx, k)
	if err != nil {
		return pin, err
	}
	if err := s.compare(ctx, k, pin); err != nil {
		return pin, err
	}
	return s.Pins.ProviderMetadata(ctx, app, k.source.String())
}

// Shown is what is pinned for an app, in a form for people.
type Shown struct {
	Pin      store.ProviderMetadata
	Metadata Metadata // in use
	Now      Metadata // what the provider shows, if that differs
	Changes  []Change // from Metadata to Now
}

// Lines returns what is pinned, and what waits, as lines for a person.
func (s Shown) Lines() []string {
	const second = "2006-01-02 15:04:05Z"
	how := "the first that were read"
	if !s.Pin.AcceptedAt.IsZero() {
		how = "accepted by an operator at " + s.Pin.AcceptedAt.Format(second)
	}
	out := []string{fmt.Sprintf("metadata of %s, read at %s (%s)", s.Metadata.From, s.Pin.ReadAt.Format(second), how)}
	if len(s.Metadata.Scopes) > 0 {
		out = append(out, "it lists the scopes "+strings.Join(s.Metadata.Scopes, " "))
	}
	if s.Pin.Problem != "" {
		out = append(out, fmt.Sprintf("it could not be read since %s, last at %s: %s", s.Pin.ProblemAt.Format(second), s.Pin.CheckedAt.Format(second), s.Pin.Problem))
	} else {
		out = append(out, "last read at "+s.Pin.CheckedAt.Format(second))
	}
	for _, c := range s.Changes {
		out = append(out, c.String())
	}
	if len(s.Changes) > 0 {
		out = append(out, fmt.Sprintf("that is so since %s, and waits for `perennial provider accept %s %s`", s.Pin.ChangedAt.Format(second), s.Pin.App, ID(s.Pin.Changed)))
	}
	return out
}

// Show reads a pin.
func Show(pin store.ProviderMetadata) (Shown, error) {
	out := Shown{Pin: pin}
	var err error
	if out.Metadata, err = decode(pin.Document); err != nil || pin.Changed == "" {
		return out, err
	}
	if out.Now, err = decode(pin.Changed); err != nil {
		return out, err
	}
	out.Changes = out.Metadata.Changes(out.Now)
	return out, nil
}
