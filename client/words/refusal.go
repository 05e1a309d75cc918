package words

import "slices"

// RefusalCause says how product code learnt that a provider does not accept a
// connection's token, other than by a 401.
type RefusalCause string

// The causes.
const (
	// RefusalTokenRefused: an API refused the access token by another status, for example
	// by 200, 400 or 403 with words of its own.
	RefusalTokenRefused RefusalCause = "token_refused"
	// RefusalRevoked: the provider sent word that the customer's access was removed, for
	// example by a webhook.
	RefusalRevoked RefusalCause = "revoked_at_provider"
)

// RefusalCauses lists every cause.
var RefusalCauses = []RefusalCause{RefusalTokenRefused, RefusalRevoked}

// CheckRefusal returns an error of [CodeInvalid] unless a product may report this. A
// generation of zero means the newest, which only [RefusalRevoked] may: it is about the
// grant, not about one token.
func CheckRefusal(generation int64, why RefusalCause) error {
	switch {
	case !slices.Contains(RefusalCauses, why):
		return Errorf(CodeInvalid, "why must be %s or %s", RefusalTokenRefused, RefusalRevoked)
	case generation < 0:
		return Errorf(CodeInvalid, "generation must not be negative")
	case generation == 0 && why == RefusalTokenRefused:
		return Errorf(CodeInvalid, "generation is needed with %s: it is that of the token that was refused", why)
	}
	return nil
}
