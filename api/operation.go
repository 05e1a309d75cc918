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

// operation describes an operation of the API for the document and the handlers.
type operation struct {
	id, method, path string
	tag              string
	summary          string
	description      string
	scopes           []perennial.Scope
	success          int // Defaults to 200.
	// writes: the operation changes something. It goes on if the caller leaves, and
	// accepts an Idempotency-Key.
	writes bool
	// repeatable: executing it twice does no harm, so after an answer of 5xx the same
	// Idempotency-Key executes it again.
	repeatable bool
	conflicts  bool // it may answer 409
	// tenant says what the operation does in a request that names no tenant.
	tenant tenantNeed
}

// tenantNeed says what an operation does in a request that names no tenant, with a key of
// every tenant.
type tenantNeed int

const (
	needsTenant  tenantNeed = iota // it is refused
	listsAcross                    // it shows what all tenants have, to a key with tenants:read
	knowsNoOwner                   // it shows nothing of any tenant
)

const (
	metaScopes = "perennial.scopes"
	metaWrites = "perennial.writes"
	metaTenant = "perennial.tenant"
)

func scopesOf(op *huma.Operation) []perennial.Scope {
	scopes, _ := op.Metadata[metaScopes].([]perennial.Scope)
	return scopes
}

func tenantNeedOf(op *huma.Operation) tenantNeed {
	need, _ := op.Metadata[metaTenant].(tenantNeed)
	return need
}

func writes(op *huma.Operation) bool { yes, _ := op.Metadata[metaWrites].(bool); return yes }

var (
	// reading is allowed to every key, because each has one of these scopes.
	reading  = []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite, perennial.ScopeTenantsRead, perennial.ScopeAdmin}
	tokens   = []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeAdmin}
	changing = []perennial.Scope{perennial.ScopeConnectionsWrite, perennial.ScopeAdmin}
	ruling   = []perennial.Scope{perennial.ScopeAdmin}
)

// register adds an operation. Every error of handle becomes a problem.
func register[I, O any](a *API, o operation, handle func(context.Context, perennial.Access, *I) (*O, error)) {
	if o.success == 0 {
		o.success = http.StatusOK
	}
	op := huma.Operation{OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary, Description: o.description,
		DefaultStatus: o.success, MaxBodyBytes: maxBody + 1, BodyReadTimeout: -1, // readBody has read the body before
		Responses: a.responses(o),
		Metadata:  map[string]any{metaScopes: o.scopes, metaWrites: o.writes, metaTenant: o.tenant}}
	for _, s := range o.scopes {
		op.Security = append(op.Security, map[string][]string{securityScheme: {string(s)}})
	}
	if o.tenant != knowsNoOwner {
		op.Parameters = append(op.Parameters, tenantParameter(o.tenant))
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
			out, err := handle(ctx, c.access, in)
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

// responses returns the responses of an operation other than its success.
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
