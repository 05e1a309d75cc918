package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/workflows"
	"golang.org/x/sync/errgroup"
)

// appSpec is one app of the suite's fleet.
type appSpec struct {
	name  string
	class perennial.ReplayClass
	size  int // 0: a share of --connections
	hosts bool
	limit float64
	knobs fakeprovider.Knobs
}

// hosts is how many hosts the app "hosts" has.
const hosts = 8

var apps = []appSpec{
	{name: "reusable", class: perennial.ReplayReusable},
	{name: "grace", class: perennial.ReplayGrace, knobs: fakeprovider.Knobs{Rotate: true, GraceSeconds: 600}},
	{name: "single_use", class: perennial.ReplaySingleUse, knobs: fakeprovider.Knobs{Rotate: true}},
	{name: "reuse_revokes", class: perennial.ReplayReuseRevokes, knobs: fakeprovider.Knobs{Rotate: true, ReuseRevokes: true}},
	{name: "unknown", class: perennial.ReplayUnknown, knobs: fakeprovider.Knobs{Rotate: true}},
	{name: "small", class: perennial.ReplaySingleUse, size: 5, knobs: fakeprovider.Knobs{Rotate: true}},
	{name: "hosts", class: perennial.ReplayUnknown, size: hosts + 1, hosts: true, knobs: fakeprovider.Knobs{Rotate: true}},
	{name: "limited", class: perennial.ReplaySingleUse, size: 60, limit: 10, knobs: fakeprovider.Knobs{Rotate: true}},
	{name: besideApp, class: perennial.ReplayReusable, size: besideSize},
}

// conn is what the suite knows of one connection.
type conn struct {
	id, app, account, host, tenant string
	class                          perennial.ReplayClass
	sick                           *int // of sickKinds: it fails all the time; nil: it is well

	mu       sync.Mutex
	excuses  []excuse
	revoked  bool // by the suite, at the provider
	lossy    bool // a loss was excused before: its old tokens may be presented again
	ours     bool // the suite changed its status
	restored bool // its row went back
	untold   bool // perhaps nobody knows of a refresh before the restore
	// renumbered: a generation that was used before is used again. Either its user
	// reconnected after the restore and before the restore was noticed, or nobody knew
	// the newest generation any more.
	renumbered bool
	// overtaken: the worker that was presenting its token was stopped past the
	// attempt's deadline, so another request came while the provider may still have had
	// the first.
	overtaken bool
	oldWait   time.Time // a long wait that the release before wrote: nobody shortens it
	said      string    // the last reply to a request for a refresh
}

// excuse says why the loss at a generation could not be avoided: the reply never
// reached us, or the process died before it could save it.
type excuse struct {
	generation int64
	at         time.Time
	why        string
	again      bool // the token may be presented again, but it is not lost
}

func (c *conn) excuse(generation int64, why string, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.excuses = append(c.excuses, excuse{generation, time.Now(), why, again})
	c.lossy = true
}

// excused reports whether the connection may be lost at a generation, and why.
func (c *conn) excused(generation int64) (why string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.excuses {
		if e.generation == generation && (!e.again || c.class == perennial.ReplayReuseRevokes) {
			return e.why, true
		}
	}
	return "", false
}

// reused reports whether another attempt presented the previous generation's token
// while a saved reply was waiting somewhere. That reply is stored, but its provider has
// ended the grant.
func (c *conn) reused(generation int64) bool {
	_, ok := c.excused(generation - 1)
	return ok && c.class == perennial.ReplayReuseRevokes
}

func (c *conn) touched(since time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.excuses {
		if e.at.After(since) {
			return true
		}
	}
	return c.restored || c.revoked
}

func (c *conn) with(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

// fleet is all connections.
type fleet struct {
	*stack
	all  []*conn
	byID map[string]*conn
}

// consent approves access for the connection's account and returns what a callback
// would.
func (s *stack) consent(c *conn, knobs fakeprovider.Knobs) (connect.Grant, error) {
	client := clientOf(c.app)
	if _, err := s.provider.Grant(client, c.account); err != nil {
		return connect.Grant{}, err
	}
	knobs.LifetimeSeconds = life.Seconds()
	if c.app == "limited" {
		knobs.LifetimeSeconds = 3600
	}
	if err := s.provider.SetKnobs(client, c.account, knobs); err != nil {
		return connect.Grant{}, err
	}
	at, err := s.deps.Store.Now(context.Background())
	if err != nil {
		return connect.Grant{}, err
	}
	reply, err := s.provider.Grant(client, c.account)
	if err != nil {
		return connect.Grant{}, err
	}
	raw, err := json.Marshal(reply)
	if err != nil {
		return connect.Grant{}, err
	}
	tokens, _, err := provider.ParseTokens(bytes.NewReader(raw), provider.Entry{})
	return connect.Grant{Tenant: c.tenant, App: c.app, Account: c.account, Host: c.host, Tokens: tokens, ObtainedAt: at, Exchanged: true}, err
}

func specOf(app string) appSpec {
	for _, a := range apps {
		if a.name == app {
			return a
		}
	}
	return appSpec{}
}

// populate creates all connections.
func populate(s *stack, connections int) (*fleet, error) {
	f := &fleet{stack: s, byID: map[string]*conn{}}
	shares := 0
	for _, a := range apps {
		if a.size == 0 {
			shares++
		}
	}
	for _, a := range apps {
		size := a.size
		if size == 0 {
			size = connections / shares
		}
		for i := range size {
			c := &conn{app: a.name, account: fmt.Sprintf("%s-%d", a.name, i), class: a.class, tenant: fmt.Sprintf("tenant-%d", i%tenants)}
			if kind := i - (size - sickSize); a.name == besideApp && kind >= 0 {
				c.sick = &kind
			}
			if a.hosts {
				c.host = fmt.Sprintf("127.0.0.%d:%d", 2+i%hosts, s.port)
			}
			f.all = append(f.all, c)
		}
	}
	var g errgroup.Group
	g.SetLimit(8)
	for _, c := range f.all {
		g.Go(func() error {
			grant, err := s.consent(c, specOf(c.app).knobs)
			if err != nil {
				return err
			}
			row, err := s.service.Connect(context.Background(), perennial.WorkerAccess(), grant)
			c.id = row.ID
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, c := range f.all {
		f.byID[c.id] = c
	}
	return f, f.sicken()
}

func (f *fleet) of(app string) []*conn {
	var out []*conn
	for _, c := range f.all {
		if c.app == app {
			out = append(out, c)
		}
	}
	return out
}

// five returns the connections of the five classes, without the apps for special
// purposes.
func (f *fleet) five() []*conn {
	var out []*conn
	for _, c := range f.all {
		if specOf(c.app).size == 0 {
			out = append(out, c)
		}
	}
	return out
}

// stir asks for a new token of each connection, as product code does, and does not wait
// for the reply. So a fault finds a connection at each seam.
func (f *fleet) stir(cs []*conn) {
	for _, c := range cs {
		row, _, err := f.deps.Store.Get(context.Background(), perennial.WorkerAccess(), c.id)
		if err != nil {
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			reply, err := connect.Refresh(ctx, f.updates, row, workflows.NewerThan(row))
			c.with(func() { c.said = fmt.Sprintf("%+v, %v, at %s", reply, err, time.Now().Format("15:04:05.000")) })
		}()
	}
}

// pick draws n of cs.
func pick(r *rand.Rand, cs []*conn, n int) []*conn {
	out := append([]*conn(nil), cs...)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(n, len(out))]
}
