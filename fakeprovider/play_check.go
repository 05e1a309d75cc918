package fakeprovider

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
)

// Check compares what the server would play with the samples of the sources: the same
// members of the same types, at the same places. A difference means that the description
// looks for something where no source has it.
func (p *Play) Check() (differences []string) {
	for _, r := range p.File.Replies {
		if !isSuccess(r.Is()) {
			continue
		}
		sample := readShape(r.Body)
		one := &Play{p.Entry, p.File}
		one.File.Replies = []fixtures.Reply{r}
		out := TokenReply{AccessToken: "access", ExpiresIn: int64(p.Knobs().LifetimeSeconds)}
		if one.hasRefreshToken(sample) {
			out.RefreshToken, out.newRefresh = "refresh", true
		}
		if find(sample.root, "id_token") != nil {
			out.IDToken = "id"
		}
		account := ""
		if p.Entry.Account.From == provider.AccountFromReply {
			account = "1"
		}
		played := readShape(string(one.tokens(r.Is(), out, account, time.Now()).body))
		for _, difference := range compared(outline(sample.root), outline(played.root)) {
			differences = append(differences, fmt.Sprintf("the reply %q: %s", r.Name, difference))
		}
	}
	return differences
}

// hasRefreshToken reports whether a sample has a refresh token, wherever that is.
func (p *Play) hasRefreshToken(s *shape) bool {
	for _, path := range p.Entry.MembersAt["refresh_token"] {
		if get(s.root, split(path)) != nil {
			return true
		}
	}
	return find(s.root, "refresh_token") != nil
}

// outline returns the type of each member, by its path. Texts in a list do not count:
// there are as many as were granted.
func outline(v any) map[string]string {
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch in := v.(type) {
		case map[string]any:
			out[at] = "an object"
			for name, one := range in {
				walk(at+"."+name, one)
			}
		case []any:
			out[at] = "a list"
			for _, one := range in {
				if _, plain := one.(string); !plain {
					walk(at+".*", one)
				}
			}
		case json.Number:
			out[at] = "a number"
		case string:
			out[at] = "a text"
		default:
			out[at] = "another value"
		}
	}
	walk("", v)
	return out
}

// compared lists the members in which a played reply differs from its sample.
func compared(sample, played map[string]string) (differences []string) {
	for _, at := range slices.Sorted(maps.Keys(played)) {
		switch want, known := sample[at]; {
		case !known:
			differences = append(differences, at+" is not in it")
		case want != played[at]:
			differences = append(differences, at+" is "+want+", not "+played[at])
		}
	}
	for _, at := range slices.Sorted(maps.Keys(sample)) {
		if played[at] == "" {
			differences = append(differences, at+" is in it, and not played")
		}
	}
	return differences
}
