package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/perennial-oauth/perennial"
)

// operation is one of the API, as the document and the handlers need it.
type operation struct {
	id, method, path string
	tag              string
	summary          string
	description      string
	scopes           []perennial.Scope
	success          int // Defaults to 200.
	// writes: it changes something; it goes on where the caller leaves, and takes an
	// Idempotency-Key.
	writes bool
	// repeatable: after an answer of 5xx the same Idempotency-Key carries it out
	// again, since doing it twice does no harm.
	repeatable bool
	conflicts  bool // it may answer 409
}

const (
	metaScopes = "perennial.scopes"
	metaWrites = "perennial.writes"
)

func scopesOf(op *huma.Operation) []perennial.Scope {
	scopes, _ := op.Metadata[metaScopes].([]perennial.Scope)
	return scopes
}

func writes(op *huma.Operation) bool { yes, _ := op.Metadata[metaWrites].(bool); return yes }

var (
	// reading is allowed to every key: each has one of these.
	reading  = []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite, perennial.ScopeAdmin}
	tokens   = []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeAdmin}
	changing = []perennial.Scope{perennial.ScopeConnectionsWrite, perennial.ScopeAdmin}
	ruling   = []perennial.Scope{perennial.ScopeAdmin}
)

// register adds an operation. Whatever handle fails with becomes a problem.
func register[I, O any](a *API, o operation, handle func(context.Context, perennial.APIKey, *I) (*O, error)) {
	if o.success == 0 {
		o.success = http.StatusOK
	}
	op := huma.Operation{OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary, Description: o.description,
		DefaultStatus: o.success, MaxBodyBytes: maxBody + 1, BodyReadTimeout: -1, // the body was read before, see readBody
		Responses: a.responses(o),
		Metadata:  map[string]any{metaScopes: o.scopes, metaWrites: o.writes}}
	for _, s := range o.scopes {
		op.Security = append(op.Security, map[string][]string{securityScheme: {string(s)}})
	}
	if o.writes {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header",
			Description: "Carries the request out once: within 24 hours the same key has the same answer, and with another request is refused. Without it a repeated request is carried out again.",
			Schema:      &huma.Schema{Type: huma.TypeString, Pattern: idempotencyKeyForm, MinLength: new(1), MaxLength: new(255)}})
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		if o.writes {
			ctx = context.WithoutCancel(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		do := func() (*O, error) {
			out, err := handle(ctx, c.key, in)
			if err != nil {
				return nil, problemOf(err)
			}
			return out, nil
		}
		if c.idempotencyKey == "" {
			return do()
		}
		return once(ctx, a, c, o.repeatable, do)
	})
}

// responses are those that an operation may give beside its success.
func (a *API) responses(o operation) map[string]*huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	codes := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if o.writes {
		codes = append(codes, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if o.conflicts && !o.writes {
		codes = append(codes, http.StatusConflict)
	}
	slices.Sort(codes)
	out := map[string]*huma.Response{}
	for _, code := range codes {
		r := &huma.Response{Description: http.StatusText(code), Content: map[string]*huma.MediaType{problemType: {Schema: schema}}, Headers: map[string]*huma.Param{}}
		text := &huma.Schema{Type: huma.TypeString}
		switch code {
		case http.StatusUnauthorized, http.StatusForbidden:
			r.Headers["WWW-Authenticate"] = &huma.Param{Schema: text}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			r.Headers["Retry-After"] = &huma.Param{Description: "Seconds", Schema: text}
		}
		out[strconv.Itoa(code)] = r
	}
	return out
}
