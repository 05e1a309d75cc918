package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/provider"
)

const (
	// waitsTooLong is how long a set in a spool may wait: workers try twice a second.
	waitsTooLong = time.Minute
	// minFree is room for spool.MaxSets token sets of 4 KiB each.
	minFree = spool.MaxSets * 4096
)

// spoolOfThisMachine looks at the folder of the spool without making it.
func spoolOfThisMachine(_ context.Context, p *parts) ([]Finding, error) {
	dir := p.cfg.Spool
	if dir == "" {
		return one(warning("set spool to a folder on a persistent volume", "no spool is configured: a worker cannot refresh while Temporal is away"))
	}
	c, err := spool.Inspect(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return one(well("%s is not on this machine: a worker makes it", dir))
	}
	if err != nil && perennial.CodeOf(err) != perennial.CodeInvalid {
		return nil, err
	}
	var out []Finding
	if err != nil {
		out = append(out, wrong("", "%v", err))
	}
	if c.Corrupt > 0 {
		out = append(out, wrong("bring the .corrupt files back from a backup of the volume under the name .sealed, or remove them", "files in %s that cannot be read: %d; their connections are not refreshed", dir, c.Corrupt))
	}
	if c.Waiting > 0 && time.Since(c.Oldest) > waitsTooLong {
		out = append(out, wrong("start a worker on this machine with this spool; never delete the files", "token sets that wait in %s: %d, the oldest since %s", dir, c.Waiting, instant(c.Oldest)))
	}
	if c.SetAside > 0 {
		out = append(out, warning("keep the .set-aside files until their connections are refreshed or reconnected", "token sets in %s that could not be stored: %d", dir, c.SetAside))
	}
	if c.Free < minFree {
		out = append(out, wrong("free space on its disk", "%s has %d MiB left", dir, c.Free>>20))
	}
	if len(out) == 0 {
		return one(well("%s: token sets waiting: %d, none set aside, %d MiB free", dir, c.Waiting, c.Free>>20))
	}
	return out, nil
}

const (
	// deliveryLate is how late a delivery may be: the sweep dispatches each minute.
	deliveryLate = 10 * time.Minute
	// deliveriesCounted is up to how many deliveries are counted.
	deliveriesCounted = 1000
)

func webhooks(ctx context.Context, p *parts) ([]Finding, error) {
	if _, err := p.rows(ctx); err != nil {
		return nil, err
	}
	b, err := notify.NewStore(p.database.value).Backlog(ctx, deliveryLate, deliveriesCounted)
	if err != nil {
		return nil, err
	}
	var out []Finding
	if b.Dead > 0 {
		out = append(out, warning("mend the endpoint, then `perennial webhook deliveries --dead` and `perennial webhook redeliver EVENT ENDPOINT`",
			"deliveries given up: %s, at %s", atMost(b.Dead, deliveriesCounted), some(b.Endpoints)))
	}
	if b.Late > 0 {
		out = append(out, wrong("see the lines `workers` and `temporal`", "deliveries that are late: %s, the first since %s", atMost(b.Late, deliveriesCounted), instant(b.LateSince)))
	}
	if b.Unplanned > 0 {
		out = append(out, wrong("start a worker", "events that wait for a worker to deliver them: %s", atMost(b.Unplanned, deliveriesCounted)))
	}
	if len(out) == 0 {
		return one(well("nothing was given up, nothing is late"))
	}
	return out, nil
}

// hostsOfApp bounds the hosts that are read of one app.
const hostsOfApp = 20

// configuration compares the apps of the configuration with those of the rows.
func configuration(ctx context.Context, p *parts) ([]Finding, error) {
	out := p.secretsHere()
	rows, err := p.rows(ctx)
	if err != nil {
		return out, err
	}
	hosts, err := rows.AppHosts(ctx, hostsOfApp)
	if err != nil {
		return out, err
	}
	cs, err := rows.Sample(ctx, sampled)
	if err != nil {
		return out, err
	}
	var unknown []string
	for name := range hosts {
		if _, err := p.cfg.Configured(name); err != nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		out = append(out, wrong("add them to apps again, or disconnect their connections", "connections belong to apps that the configuration does not have: %s", some(unknown)))
	}
	for _, app := range p.cfg.Apps {
		out = append(out, ofApp(complete(ctx, p, rows, app), hosts[app.Name], cs)...)
	}
	if !slices.ContainsFunc(out, func(f Finding) bool { return f.State != Well }) {
		out = append(out, well("it fits the connections; apps: %d", len(p.cfg.Apps)))
	}
	return out, nil
}

// secretsHere notes the apps whose client secret is not on this machine.
func (p *parts) secretsHere() []Finding {
	var without []string
	for _, app := range p.cfg.Apps {
		if p.cfg.NeedSecrets(app.Name) != nil {
			without = append(without, app.Name)
		}
	}
	if len(without) == 0 {
		return nil
	}
	return []Finding{well("without a client secret here: %s (only workers and servers need them)", some(without))}
}

// ofApp finds hosts and providers in rows that do not fit an app.
func ofApp(app provider.App, hosts []string, cs []perennial.Connection) (out []Finding) {
	var others, providers []string
	for _, host := range hosts {
		if !serves(app, host) {
			others = append(others, host)
		}
	}
	for _, c := range cs {
		if c.App == app.Name && c.Provider != app.Provider.Name {
			providers = append(providers, c.Provider)
		}
	}
	switch {
	case len(others) > 0 && app.Provider.HostNeeded():
		out = append(out, wrong(fmt.Sprintf("correct the app's host_suffixes; `perennial list --app %s`", app.Name), "app %s has connections at hosts that it does not allow, so nothing is sent there: %s", app.Name, some(others)))
	case len(others) > 0:
		out = append(out, warning("check that the app's token_url serves these connections too", "app %s has connections that were made at another host than its token endpoint's: %s", app.Name, some(others)))
	}
	if len(providers) > 0 {
		out = append(out, wrong("give the app its provider back, or a new name", "app %s is of provider %s and has connections of %s", app.Name, app.Provider.Name, some(providers)))
	}
	return out
}

// serves reports whether an app presents tokens at host.
func serves(app provider.App, host string) bool {
	if app.Provider.HostNeeded() {
		_, err := app.At(host)
		return err == nil
	}
	if app.Discovery != nil { // its provider has not said yet where its token endpoint is
		return true
	}
	u, err := url.Parse(app.Provider.TokenURL)
	return err == nil && u.Host == host
}
