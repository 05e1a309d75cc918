package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
)

// keysWork seals and opens a value with each keyset.
func keysWork(ctx context.Context, p *parts) ([]Finding, error) {
	if err := p.keys.reason(ctx); err != nil {
		return one(unopened(err, "check kms_uri and whether the KMS answers"))
	}
	var out []Finding
	var ids []string
	for _, field := range seal.Fields {
		if !p.keys.value.CanOpen(field) {
			out = append(out, warning(fmt.Sprintf("if a worker or a server runs on this machine, copy the keyset to %s", p.cfg.KeysDir), "there is no keyset here for the %s: it is not checked", field))
			continue
		}
		b := seal.Binding{Connection: "doctor", Field: field, Generation: 1}
		sealed, err := p.keys.value.Seal(b, perennial.NewSecret("doctor"))
		if err == nil {
			_, err = p.keys.value.Open(b, sealed)
		}
		if err != nil {
			return append(out, wrong("bring the keys back from their copy", "%v", err)), nil
		}
		id, err := p.keys.value.PrimaryKeyID(field)
		if err != nil {
			return out, err
		}
		ids = append(ids, fmt.Sprintf("the %s by key %d", field, id))
	}
	if len(ids) > 0 {
		out = append(out, well("sealed and opened: %s", strings.Join(ids, ", ")))
	}
	return out, nil
}

// sampled is how many rows a check reads whose question no index answers.
const sampled = 40

// sealedRows opens the tokens of some rows with the keys here.
func sealedRows(ctx context.Context, p *parts) ([]Finding, error) {
	keys, err := p.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := rows.Sample(ctx, sampled)
	if err != nil {
		return nil, err
	}
	var bad, foreign []string // ids of rows and keys
	opened := 0
	for _, c := range cs {
		for field, sealed := range map[seal.Field][]byte{seal.FieldAccessToken: c.AccessTokenSealed, seal.FieldRefreshToken: c.RefreshTokenSealed} {
			if len(sealed) == 0 || !keys.CanOpen(field) {
				continue
			}
			if _, err := keys.Open(seal.BindingOf(c, field, c.Generation), sealed); err == nil {
				opened++
				continue
			}
			bad = append(bad, c.ID)
			foreign = append(foreign, keyOf(sealed))
		}
	}
	if len(bad) == 0 {
		return one(well("they open: %d tokens of %d rows, the newest among them", opened, len(cs)))
	}
	return one(wrong("use the keys that they were sealed with; if the keys are right, the rows were altered: bring them back from a backup",
		"tokens that do not open with the keys here: %d, in %d sampled rows: those of %s, sealed by %s", len(bad), len(cs), some(bad), some(foreign)))
}

func keyOf(sealed []byte) string {
	id, err := seal.KeyID(sealed)
	if err != nil {
		return "no key"
	}
	return fmt.Sprintf("key %d", id)
}
