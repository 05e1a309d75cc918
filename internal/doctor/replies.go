package doctor

import (
	"context"
	"strings"
)

// keptReplies looks at the replies that could not be read and may have tokens. Until a
// person reads them again, the tokens of most of their connections are not renewed.
func keptReplies(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := rows.KeptReplies(ctx, counted)
	if err != nil {
		return nil, err
	}
	if len(kept) == 0 {
		return one(well("no reply is kept that could not be read"))
	}
	var ids, apps []string
	seen := map[string]bool{}
	for _, k := range kept {
		ids = append(ids, k.ConnectionID)
		if !seen[k.App] {
			seen[k.App] = true
			apps = append(apps, k.App)
		}
	}
	return one(wrong("correct the description of "+strings.Join(apps, ", ")+" and run `perennial recover ID` for each (docs/replies.md): their access tokens end",
		"replies that may have tokens and could not be read are kept of %s", some(ids)))
}
