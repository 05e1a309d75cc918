package api

import (
	"encoding/base64"
	"encoding/json"

	"github.com/perennial-oauth/perennial/client/wire"
)

// Page asks for a part of a list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before; it is opaque"`
}

// cursor writes where a page ended. Tenants are not in it: it is laid over the
// caller's own list.
func cursor(last any) string {
	raw, err := json.Marshal(last)
	if err != nil { // plain structs always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// readCursor reads one; the empty cursor leaves into as it is.
func (p Page) readCursor(into any) error {
	if p.Cursor == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil && hasNUL(raw) {
		err = errNUL
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		bad := problem("invalid", "The cursor is not one that was given out.")
		bad.Errors = []wire.Invalid{{Location: "query.cursor", Message: "is not one that was given out"}}
		return bad
	}
	return nil
}

// cut takes the page off one more row than it has, and says where it ended.
func cut[T any](rows []T, limit int, last func(T) any) (page []T, next string) {
	if len(rows) <= limit {
		return rows, ""
	}
	return rows[:limit], cursor(last(rows[limit-1]))
}
