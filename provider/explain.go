package provider

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Explanation says how a token endpoint's reply was read. It shows no token: only its
// length and the beginning of its digest.
type Explanation struct {
	HTTPStatus  int    `json:"http_status"`
	ContentType string `json:"content_type,omitempty"`
	Bytes       int    `json:"bytes"`
	// Form says how the body is written, and what was undone to read it.
	Form      string            `json:"form"`
	Members   []Member          `json:"members"`
	Outcome   perennial.Outcome `json:"outcome"`
	Code      string            `json:"code,omitempty"`
	Fault     perennial.Fault   `json:"fault,omitempty"`
	Because   string            `json:"because"` // the rule that decided
	Says      string            `json:"says,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	// Account is the account that the reply names; Problem is why it does not count.
	Account    string `json:"account,omitempty"`
	Problem    string `json:"account_problem,omitempty"`
	RetryAfter Span   `json:"retry_after,omitempty"`
}

// Member is one value of a reply.
type Member struct {
	Path  string `json:"path"`
	Value string `json:"value"`
	Read  string `json:"read,omitempty"` // as what; "": it is not read
}

// ExplainSaved explains a saved reply: a body, or a whole reply with its
// status line and its headers, as `curl -i` prints it. Without a status line, status
// counts. It came at this time, which counts for lifetimes that are instants.
func ExplainSaved(raw []byte, app App, status int, came time.Time) Explanation {
	o := &oneShot{app: app, used: true, header: http.Header{}, whole: true, at: came}
	o.sent.Store(true)
	if o.status, o.header, o.body = splitReply(raw); o.status == 0 {
		o.status, o.body = cmp.Or(status, http.StatusOK), raw
	}
	o.body = o.body[:min(len(o.body), maxBody)]
	r := o.reply(app.Provider, came)
	if r.Outcome == perennial.OutcomeRefreshed {
		r.Accounts, r.AccountProblem = app.accountsIn(o.body)
	}
	return o.explain(r)
}

// splitReply splits a saved reply; status is 0 if it has no status line.
func splitReply(raw []byte) (status int, header http.Header, body []byte) {
	raw = bytes.TrimLeft(raw, "\r\n")
	if !bytes.HasPrefix(raw, []byte("HTTP/")) {
		return 0, http.Header{}, raw
	}
	head, body, _ := bytes.Cut(bytes.ReplaceAll(raw, []byte("\r\n\r\n"), []byte("\n\n")), []byte("\n\n"))
	line, lines, _ := strings.Cut(string(head), "\n")
	if words := strings.Fields(line); len(words) > 1 {
		status, _ = strconv.Atoi(words[1]) // 0 says that it is none
	}
	if status < 100 || status > 999 {
		return 0, http.Header{}, raw
	}
	read, err := textproto.NewReader(bufio.NewReader(strings.NewReader(lines + "\n\n"))).ReadMIMEHeader()
	if err != nil {
		read = nil // a line that is no header makes the others doubtful
	}
	return status, http.Header(read), body
}

// explain explains the recorded reply, which was judged to be r.
func (o *oneShot) explain(r Reply, secrets ...perennial.Secret) Explanation {
	in := o.received()
	read := in.read(o.app.Provider)
	secrets = append(secrets, read.tokens.AccessToken, read.tokens.RefreshToken)
	out := Explanation{HTTPStatus: o.status, ContentType: describe(o.header.Get("Content-Type"), secrets...), Bytes: len(o.body), Form: in.form(),
		Outcome: r.Outcome, Code: r.Code, Fault: r.Fault, Says: describe(r.Description, secrets...), RequestID: r.RequestID, Problem: describe(r.AccountProblem, secrets...), RetryAfter: spanOf(r.RetryAfter)}
	if holdsSecret(out.Code, secrets) {
		out.Code = ""
	}
	out.Because = o.app.Provider.because(o.evidenceOf(read, secrets...), r)
	if len(r.Accounts) > 0 {
		out.Account = describe(r.Accounts[0].ID, secrets...)
	}
	x := explainer{e: o.app.Provider, in: in, refused: r.Outcome != perennial.OutcomeRefreshed, read: read, secrets: secrets}
	x.root = readDocument(in.body, in.whole).root
	x.walk(nil, x.root)
	out.Members = x.members
	return out
}

func (o *oneShot) evidenceOf(read tokenReply, secrets ...perennial.Secret) evidence {
	ev := read.evidence(o.status, o.header, secrets...)
	ev.accessToken = !read.tokens.AccessToken.IsZero()
	ev.err = o.err
	return ev
}

// form says how a body is written.
func (in received) form() string {
	var undone []string
	plain, _, broken := decoded(in.body)
	if !bytes.Equal(plain, in.body) {
		undone = append(undone, "compressed or UTF-16")
	}
	if text := trimmed(plain); len(text) > 0 && !bytes.HasPrefix(bytes.TrimSpace(plain), text) {
		undone = append(undone, "behind a guard or a byte-order mark")
	}
	d := readDocument(in.body, in.whole)
	form := "nothing that can be read"
	switch first := next(trimmed(plain), 0); {
	case d.page && d.read:
		form = "a page with a token reply in it"
	case d.page:
		form = "a page"
	case d.read && (first == '{' || first == '['):
		form = "JSON"
	case d.read && first == '"':
		form = "JSON as a text"
	case d.read:
		form = "a form, or a text with a token reply in it"
	}
	if d.read && (d.broken || broken) {
		undone = append(undone, "it breaks off")
	}
	return strings.Join(append([]string{form}, undone...), ", ")
}

// because names the rule by which [classify] judged a reply.
func (e Entry) because(ev evidence, r Reply) string {
	if r.Outcome == perennial.OutcomeRefreshed {
		if ev.status/100 == 2 {
			return "a success status, and an access token"
		}
		return "both tokens and no error, whatever the status says"
	}
	if ev.err != nil || r.HTTPStatus == 0 {
		return "no whole reply came"
	}
	for i, s := range e.Spellings {
		if s.matches(ev) {
			return fmt.Sprintf("spelling %d of the description: %s", i+1, flow(s))
		}
	}
	if ev.status == http.StatusTooManyRequests {
		return "the status 429"
	}
	if v, ok := ev.standard(); ok && ev.status < 500 {
		return "the words that mean " + v.code + " at every provider"
	}
	return "the status alone: no spelling and no standard has these words"
}
