package doctor

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/store"
)

// uncheckedFor is for how long a provider's metadata may not be read before that is worth
// a warning: those that are pinned stay in use.
const uncheckedFor = 3 * 24 * time.Hour

// secretEnds is how long before its end a registered client's secret is worth a warning.
const secretEnds = 14 * 24 * time.Hour

// metadata looks at what providers say about themselves: whether it was ever read, and
// whether a change waits for an operator.
func metadata(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	now, err := rows.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	read := 0
	for _, app := range p.cfg.Apps {
		source, ok := discovery.SourceOf(app)
		if !ok {
			continue
		}
		pin, err := rows.ProviderMetadata(ctx, app.Name, source.String())
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
			out = append(out, wrong("`perennial provider read "+app.Name+"` says why", "app %s: what %s says about itself was never read, so nothing of the app can be used", app.Name, source))
			continue
		case err != nil:
			return out, err
		}
		read++
		found, err := aboutMetadata(ctx, p, rows, app, pin, now)
		out = append(out, found...)
		if err != nil {
			return out, err
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case read == 0:
		return one(well("no app's provider describes itself"))
	}
	return one(well("%d apps use what their providers say about themselves, and that has not changed", read))
}

func aboutMetadata(ctx context.Context, p *parts, rows *store.Store, app provider.App, pin store.ProviderMetadata, now time.Time) (out []Finding, err error) {
	shown, err := discovery.Show(pin)
	if err != nil {
		return nil, err
	}
	if _, err := discovery.Complete(app, shown.Metadata, p.cfg.Discovery.AllowPrivate); err != nil {
		out = append(out, wrong("correct the app's settings", "%s", err))
	}
	if len(shown.Changes) > 0 {
		do := "if the provider announced it, `perennial provider accept " + app.Name + " " + discovery.ID(pin.Changed) + "`"
		for _, c := range shown.Changes {
			out = append(out, warning(do, "app %s: what the provider says about itself has changed at %s: %s", app.Name, instant(pin.ChangedAt), c))
		}
	}
	if app.ClientID == "" {
		c, err := rows.ProviderClient(ctx, app.Name, shown.Metadata.Issuer)
		if err != nil {
			return out, err
		}
		if !c.SecretExpiresAt.IsZero() && c.SecretExpiresAt.Sub(now) < secretEnds {
			out = append(out, warning("`perennial provider register "+app.Name+" --replace`, after which its customers must reconnect; ask the provider for a client that does not end", "app %s: the secret of its registered client ends at %s", app.Name, instant(c.SecretExpiresAt)))
		}
	}
	if pin.Problem != "" && now.Sub(pin.CheckedAt) > uncheckedFor {
		out = append(out, warning("ask the provider; the metadata that are pinned stay in use", "app %s: what the provider says about itself could not be read since %s: %s", app.Name, instant(pin.CheckedAt), pin.Problem))
	}
	return out, nil
}

// complete returns an app with its pinned metadata, if there are any.
func complete(ctx context.Context, p *parts, rows *store.Store, app provider.App) provider.App {
	source, ok := discovery.SourceOf(app)
	if !ok {
		return app
	}
	pin, err := rows.ProviderMetadata(ctx, app.Name, source.String())
	if err != nil {
		return app
	}
	shown, err := discovery.Show(pin)
	if err != nil {
		return app
	}
	if done, err := discovery.Complete(app, shown.Metadata, p.cfg.Discovery.AllowPrivate); err == nil {
		return done
	}
	return app
}
