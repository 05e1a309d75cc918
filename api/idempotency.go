package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"regexp"
	"time"

	"github.com/perennial-oauth/perennial"
)

// A request with an Idempotency-Key is executed once, as in the IETF's draft
// draft-ietf-httpapi-idempotency-key-header. This matters here: tokens that are stored
// a second time may be older than those that they replace.

// idempotencyKeyForm is the form of an Idempotency-Key.
const idempotencyKeyForm = `^[!-~]{1,255}$`

var idempotencyKey = regexp.MustCompile(idempotencyKeyForm)

// underWay bounds how long the first request may run. One that has not ended by then
// was cut off.
const underWay = 2 * answerTimeout

// secretBearer is an answer that shows a secret once. The stored copy does not have it.
type secretBearer interface{ withoutSecret() any }

// fingerprint distinguishes requests without revealing anything of them: its key is the
// caller's own secret, which is not stored.
func fingerprint(key, method, uri string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	for _, part := range []string{method, uri} {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// idempotent returns the request of a call that has no result yet.
func (c *call) idempotent() IdempotentRequest {
	named := c.idempotencyKey
	if c.key.EveryTenant { // each tenant has Idempotency-Keys of its own
		named = c.tenant() + "\x00" + named
	}
	hash := sha256.Sum256([]byte(named))
	return IdempotentRequest{APIKeyID: c.key.ID, KeyHash: hex.EncodeToString(hash[:]), Fingerprint: c.fingerprint}
}

// once executes a request unless an earlier one had the same key. Then it returns that
// one's answer. repeatable says that executing it twice does no harm.
func once[O any](ctx context.Context, a *API, c *call, repeatable bool, do func() (*O, error)) (*O, error) {
	request := c.idempotent()
	earlier, first, err := a.Requests.Begin(ctx, request)
	if err != nil {
		return nil, problemOf(err)
	}
	if !first {
		return replay[O](c, request, earlier)
	}
	out, err := do()
	request.Status, request.Answer = a.kept(c, out, err)
	switch {
	case request.Status != 0:
		err2 := a.Requests.End(ctx, request)
		if err2 != nil {
			a.Log.Error("the result of a request is not saved", "request_id", c.requestID, "error", err2)
		}
	case repeatable || problemOf(err).Code == perennial.CodeConflict: // nothing has changed, or a second execution is harmless
		if err2 := a.Requests.Forget(ctx, request); err2 != nil {
			a.Log.Error("an Idempotency-Key is not given back", "request_id", c.requestID, "error", err2)
		}
	}
	return out, err
}

// kept returns the part of an answer to store. Status 0: none, because the outcome is
// not certain or not final.
func (a *API) kept(c *call, out any, err error) (status int, answer string) {
	if err != nil {
		p := problemOf(err)
		if p.Status >= 500 || p.Code == perennial.CodeConflict {
			return 0, ""
		}
		raw, err := json.Marshal(p)
		if err != nil {
			return 0, ""
		}
		return p.Status, string(raw)
	}
	if reflect.ValueOf(out).IsNil() { // only the status is stored
		return c.success, ""
	}
	if s, ok := out.(secretBearer); ok {
		out = s.withoutSecret()
	}
	body := reflect.Indirect(reflect.ValueOf(out)).FieldByName("Body")
	if !body.IsValid() {
		return c.success, ""
	}
	raw, err := json.Marshal(body.Interface())
	if err != nil {
		return 0, ""
	}
	return c.success, string(raw)
}

func replay[O any](c *call, request, earlier IdempotentRequest) (*O, error) {
	age := earlier.Now.Sub(earlier.CreatedAt)
	switch {
	case earlier.Fingerprint != request.Fingerprint:
		return nil, problem(codeKeyReused, "This Idempotency-Key was used for another request within the last 24 hours: give each request its own.")
	case earlier.Status == 0 && age < underWay:
		return nil, problem(codeInProgress, "The first request with this Idempotency-Key is still under way.").retryAfter(time.Second)
	case earlier.Status == 0:
		return nil, problem(codeOutcomeUnknown, "The first request with this Idempotency-Key was cut off: whether it was carried out is not known. Look at what it was to change; to do it again, use a new key.")
	}
	c.header.Set("Idempotency-Replayed", "true")
	if earlier.Status >= 400 {
		p := &Problem{}
		if err := json.Unmarshal([]byte(earlier.Answer), p); err != nil {
			return nil, problemOf(err)
		}
		p.RequestID = ""
		return nil, p
	}
	out := new(O)
	if body := reflect.ValueOf(out).Elem().FieldByName("Body"); body.IsValid() {
		if err := json.Unmarshal([]byte(earlier.Answer), body.Addr().Interface()); err != nil {
			return nil, problemOf(err)
		}
	}
	return out, nil
}
