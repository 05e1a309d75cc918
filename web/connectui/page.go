package connectui

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
)

// content is the input of the only template. Empty parts are left out.
type content struct {
	Product, HelpURL, Static string // the same on every page

	Heading string
	Good    bool // the heading is good news
	Alert   bool // the heading is bad news
	Detail  string
	Facts   []fact
	Items   []string // after the detail: permissions
	Action  string   // what the customer should do

	Choices   []choice // of the form
	Post      string   // the form's label; empty: no form
	PostTo    string
	FormToken string

	Onward, OnwardLabel string // a link that looks like a button
	Back, BackLabel     string // a plain link

	Message *tell
}

type fact struct{ Name, Value string }

// tell is the message of a popup's script to the window that opened it.
type tell struct {
	Origin  string // exactly this origin receives it
	Message string // JSON
	Close   bool
}

// message is the JSON that a popup's opener gets.
type message struct {
	Type         string                   `json:"type"` // always "perennial.connect"
	Outcome      perennial.ConnectOutcome `json:"outcome"`
	SessionID    string                   `json:"session_id"`
	ConnectionID string                   `json:"connection_id,omitempty"`
	Code         string                   `json:"code,omitempty"` // with awaiting_finish
}

// problems has the pages for requests without a session, or with one that must not be
// shown here.
var problems = map[string]content{
	"link": {Heading: "This link does not work", Alert: true, Detail: "It is not complete, or it is too old.",
		Action: "Go back to where you found it and start again."},
	"used": {Heading: "This link was used already", Alert: true, Detail: "It works once. Nothing was changed just now.",
		Action: "Go back to where you found it to see whether everything is connected."},
	"expired": {Heading: "This link has expired", Alert: true, Detail: "For your safety it works for a short time only. Nothing was changed.",
		Action: "Go back to where you found it and start again."},
	"state": {Heading: "This sign-in cannot be continued", Alert: true, Detail: "It was finished or started again already, or it did not begin here. Nothing was changed.",
		Action: "Go back to where you came from and start again."},
	"cancelled": {Heading: "Nothing was connected", Alert: true, Detail: "The sign-in was cancelled, or access was not allowed. Nothing was changed.",
		Action: "Go back to where you came from to try again."},
	"browser": {Heading: "This sign-in began in another browser", Alert: true, Detail: "For your safety it can only be finished where it began. Nothing was changed.",
		Action: "Open the link again and stay in one browser. If you did not start this yourself, close this page."},
	"choosing": {Heading: "This sign-in began in another browser", Alert: true, Detail: "Access was allowed there, and an account has to be chosen there too.",
		Action: "Go back to the browser in which you signed in."},
	"finishing": {Heading: "This sign-in began in another browser", Alert: true, Detail: "Access was allowed there, and it has to be finished there too.",
		Action: "Go back to the browser in which you signed in."},
	"many": {Heading: "Too many links that do not work", Alert: true, Detail: "Someone on your network opened many of them within a minute. Nothing was changed.",
		Action: "Wait a minute, then open the link again."},
	"ours": {Heading: "Something went wrong on our side", Alert: true, Detail: "This is not your doing.",
		Action: "Go back to where you came from and try again in a few minutes."},
}

func (h *Handler) expired(c perennial.ConnectSession) content {
	p := problems["expired"]
	p.Back, p.BackLabel = h.back(c), "Go back"
	return p
}

// back returns the return URL for a plain link, "" for none.
func (h *Handler) back(c perennial.ConnectSession) string { return h.Sessions.BackURL(c) }

// page returns a link's page in the state of its session. Only the browser that began
// sees the outcome. again: the form did not come from our page.
func (h *Handler) page(w http.ResponseWriter, r *http.Request, link perennial.Secret, v connect.View, again bool) content {
	mine := connect.SameBrowser(v.ConnectSession, h.browser(r, v.ID))
	var p content
	switch {
	case v.Outcome == perennial.ConnectUnfinished:
		p = h.outcome(v)
	case v.Outcome == perennial.ConnectChooseAccount && !mine:
		return problems["choosing"]
	case v.AwaitsFinish() && !mine:
		return problems["finishing"]
	case mine && v.Outcome != "":
		p = h.outcome(v)
		if problem := h.keptProblem(r, v.ConnectSession); problem != "" {
			p.Facts = append(p.Facts, fact{"For support: what the answer says", problem})
		}
	default:
		p = h.begin(v)
	}
	if again {
		p.Action = "Please press the button once more. Your browser needs to allow cookies."
	}
	if p.Post != "" {
		p.PostTo, p.FormToken = h.path(link.Reveal()), h.formToken(w, r, link)
	}
	return p
}

// begin says what will be connected, and for which tenant.
func (h *Handler) begin(v connect.View) content {
	p := content{Heading: "Connect " + v.Title, Post: "Continue to " + v.Title, Back: h.back(v.ConnectSession), BackLabel: "Cancel"}
	for_ := ""
	if v.TenantTitle != "" {
		for_ = " for " + v.TenantTitle
	}
	if !v.Bound() { // somebody may have sent the link, and the caller chose the title
		p.Facts = append(p.Facts, fact{"Access goes to", v.TenantID})
	}
	p.Detail = h.Product + " asks for access to your " + v.Title + " account" + sentenceEnd(for_) + " You sign in at " + v.Title + " and decide there."
	if v.Connection.ID != "" {
		p.Heading = "Reconnect " + v.Title
		p.Detail = h.Product + " asks for access to your " + v.Title + " account again" + sentenceEnd(for_) + " Your settings are kept."
		if v.Connection.Status != perennial.StatusActive {
			words := v.Connection.Words(v.Title)
			if words.Detail != "" {
				p.Facts = append(p.Facts, fact{"Why", capital(words.Detail) + "."})
			}
		}
		p.Facts = append(p.Facts, fact{"Account", v.Connection.AccountID})
		p.Action = "Sign in to " + v.Title + " with this same account."
	}
	return p
}

// sentenceEnd ends a sentence, even after a name that ends in a full stop: Acme Inc.
func sentenceEnd(s string) string { return strings.TrimSuffix(s, ".") + "." }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// outcome shows the outcome of the last consent.
func (h *Handler) outcome(v connect.View) content {
	words := perennial.DescribeConnect(v.Outcome, v.Title)
	p := content{Heading: words.Label, Detail: words.Detail, Items: v.Missing, Action: words.Action, Back: h.back(v.ConnectSession), BackLabel: "Back to " + h.Product}
	if h.Product == "This service" {
		p.BackLabel = "Go back"
	}
	switch v.Outcome {
	case perennial.ConnectAwaitingFinish:
		p.Onward, p.OnwardLabel, p.Back = p.Back, p.BackLabel, ""
	case perennial.ConnectConnected:
		p.Good = true
		p.Onward, p.OnwardLabel, p.Back = p.Back, p.BackLabel, ""
	case perennial.ConnectUnfinished:
		p.Post = "Look again"
	case perennial.ConnectChooseAccount:
		h.offer(&p, v)
	case perennial.ConnectGone, perennial.ConnectMisconfigured:
		p.Alert = true
	case perennial.ConnectAccountMismatch:
		p.Alert, p.Post = true, "Try again"
		p.Facts = []fact{{"Connected here", v.Connection.AccountID}}
	default:
		p.Alert, p.Post = true, "Try again"
	}
	if origin := h.Sessions.BackOrigin(v.ConnectSession); v.Mode == perennial.ConnectPopup && origin != "" && (v.AwaitsFinish() || !goesOn(v.Outcome)) {
		raw, err := json.Marshal(message{"perennial.connect", v.Outcome, v.ID, v.ResultID, v.FinishCode.Reveal()})
		if err == nil { // strings always marshal
			p.Message = &tell{Origin: origin, Message: string(raw), Close: leaves(v.ConnectSession)}
		}
	}
	return p
}
