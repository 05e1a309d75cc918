package connectui

import (
	"cmp"
	"net/http"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
)

// choice is one account on the page that asks which one to connect.
type choice struct {
	ID    string // the value of the form
	Label string
	Note  string // the id, if the label is a title
}

// offer makes the page on which the customer chooses one of the accounts that the grant
// reaches.
func (h *Handler) offer(p *content, v connect.View) {
	all, err := h.Sessions.Choices(v.ConnectSession)
	if err != nil {
		h.Log.Error("accounts to choose from not opened", "session_id", v.ID, "error", err)
		*p = problems["ours"]
		return
	}
	for _, c := range all {
		one := choice{ID: c.ID, Label: cmp.Or(c.Title, c.ID)}
		if c.Title != "" {
			one.Note = c.ID
		}
		p.Choices = append(p.Choices, one)
	}
	p.Post, p.BackLabel = "Connect this one", "Cancel"
}

// choose stores the grant for the account that the customer chose. Only the browser that
// gave the consent may choose.
func (h *Handler) choose(w http.ResponseWriter, r *http.Request, v connect.View, link perennial.Secret) {
	if !connect.SameBrowser(v.ConnectSession, h.browser(r, v.ID)) {
		h.render(w, http.StatusForbidden, problems["choosing"])
		return
	}
	c, err := h.Sessions.Choose(r.Context(), v.ID, r.PostFormValue("account"))
	switch {
	case perennial.CodeOf(err) == perennial.CodeInvalid: // none was marked, or a form of an earlier consent
		h.render(w, http.StatusBadRequest, h.page(w, r, link, v, false))
	case err != nil:
		h.failed(w, err)
	default:
		h.finished(w, r, v, c, link)
	}
}
