package api

import (
	"encoding/base64"
	"encoding/json"

	"github.com/perennial-oauth/perennial/client/wire"
)

// Page selects a part of a list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before; it is opaque"`
}

// cursor encodes where a page ended. It has no tenant: it applies to the caller's own
// list.
func cursor(last any) string {
	raw, err := json.Marshal(last)
	if err != nil { // plain structs always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// readCursor decodes a cursor. The empty cursor leaves into unchanged.
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

// cut takes rows, which may be one longer than the page, and returns the page and where
// it ended.
func cut[T any](rows []T, limit int, last func(T) any) (page []T, next string) {
	if len(rows) <= limit {
		return rows, ""
	}
	return rows[:limit], cursor(last(rows[limit-1]))
}
