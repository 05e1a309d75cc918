package provider

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/assertion"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
)

// credentials are a customer's, in place of a consent, by their names.
type credentials map[string]string

// sealedCredentials is how they stand in a connection, in the refresh token's place. The
// salt makes each giving of them another value: no two connections have the same digest,
// and no digest shows what they are.
type sealedCredentials struct {
	Credentials credentials `json:"credentials"`
	Salt        string      `json:"salt"`
}

const (
	maxCredentials = 64 << 10 // bytes of all
	maxPlaced      = 128      // of one that stands in a URL
)

// placedForm is the form of a credential that stands in a URL: it ends no part of it.
var placedForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// ParseCredentials reads a customer's credentials from a JSON object, as the app's
// provider needs them. It returns them as they are presented: a connection stores them
// in its refresh token's place. account is the account that they name, "" if they name
// none. An error is of [perennial.CodeInvalid], and repeats no value.
func ParseCredentials(raw perennial.Secret, e Entry) (presented perennial.Secret, account string, err error) {
	invalid := func(format string, args ...any) (perennial.Secret, string, error) {
		return perennial.Secret{}, "", perennial.Errorf(perennial.CodeInvalid, "credentials: "+format, args...)
	}
	if !e.Grant.FromCredentials() {
		return invalid("%s connects by a consent; give tokens, or a link to the customer", e.Title)
	}
	given, ok := readCredentials(raw)
	if !ok {
		return invalid("give a JSON object of at most %d bytes with texts: %s", maxCredentials, strings.Join(e.Credentials, ", "))
	}
	all := slices.Concat(e.Credentials, e.CredentialsOptional)
	for _, name := range sortedKeys(given) {
		if !slices.Contains(all, name) {
			shown := "a member (not shown)"
			if memberName.MatchString(name) {
				shown = name
			}
			return invalid("%s is not one of %s: leave it out%s", shown, strings.Join(all, ", "), strictyaml.DidYouMean(name, all))
		}
	}
	for _, name := range e.Credentials {
		if given[name] == "" {
			return invalid("%s is needed", name)
		}
	}
	if err := e.usable(given); err != nil {
		return invalid("%s", err)
	}
	sealed, err := json.Marshal(sealedCredentials{given, rand.Text()})
	if err != nil {
		return invalid("they cannot be stored")
	}
	return perennial.NewSecret(string(sealed)), given.account(e), nil
}

// readCredentials reads an object of texts and numbers. A member without a value counts
// as not given.
func readCredentials(raw perennial.Secret) (credentials, bool) {
	text := raw.Reveal()
	if len(text) > maxCredentials || !utf8.ValidString(text) {
		return nil, false
	}
	body, err := decode([]byte(text))
	members, ok := body.(map[string]any)
	if err != nil || !ok {
		return nil, false
	}
	given := credentials{}
	for name, v := range members {
		switch v := v.(type) {
		case nil:
		case string:
			given[name] = v
		case json.Number:
			given[name] = v.String()
		default:
			return nil, false
		}
	}
	maps.DeleteFunc(given, func(_, v string) bool { return v == "" })
	return given, true
}

// usable returns an error if a credential cannot be what it should be.
func (e Entry) usable(given credentials) error {
	for _, name := range placed(e.TokenURL) {
		if v, ok := given[name]; ok && (len(v) > maxPlaced || !placedForm.MatchString(v)) {
			return fmt.Errorf("%s must be letters, digits, - _ and . only, at most %d: it stands in an address", name, maxPlaced)
		}
	}
	if key, ok := given[credentialKey]; ok {
		if _, err := assertion.ReadKey(perennial.NewSecret(key)); err != nil {
			return fmt.Errorf("%s %w", credentialKey, err)
		}
	}
	if secret, ok := given[credentialClientSecret]; ok {
		if err := e.CheckProof(perennial.NewSecret(secret)); err != nil {
			return fmt.Errorf("%s %w", credentialClientSecret, err)
		}
	}
	return nil
}

// account returns the account that the credentials name: the first of the names of the
// entry's account source that is given.
func (c credentials) account(e Entry) string {
	if e.Account.From != AccountFromCredentials {
		return ""
	}
	for name := range strings.SplitSeq(e.Account.Name, "|") {
		if c[name] != "" {
			return c[name]
		}
	}
	return ""
}

// openCredentials reads what [ParseCredentials] returned.
func openCredentials(presented perennial.Secret) (credentials, bool) {
	var sealed sealedCredentials
	err := json.Unmarshal([]byte(presented.Reveal()), &sealed)
	return sealed.Credentials, err == nil && len(sealed.Credentials) > 0
}

// secrets returns the values that no text may have. The client's id is public.
func (c credentials) secrets() []perennial.Secret {
	var out []perennial.Secret
	for _, name := range sortedKeys(c) {
		if name != credentialClientID {
			out = append(out, perennial.NewSecret(c[name]))
		}
	}
	return out
}

// with returns the app of one customer: the credentials stand in their places, and in
// place of the app's own client. values has them with the client_id and the scopes.
func (a App) with(given credentials) (own App, values credentials) {
	if id := given[credentialClientID]; id != "" {
		a.ClientID = id
	}
	values = credentials{}
	maps.Copy(values, given)
	values[credentialClientID] = a.ClientID
	if len(a.Scopes) > 0 {
		values["scopes"] = a.joinedScopes(a.Scopes)
	}
	e := &a.Provider
	for _, name := range placed(e.TokenURL) {
		e.TokenURL = strings.ReplaceAll(e.TokenURL, "{"+name+"}", url.PathEscape(values[name]))
	}
	e.RefreshParams = values.filled(e.RefreshParams)
	return a, values
}

// fill puts the values in their places. Without one of them there is no text.
func (c credentials) fill(text string) (filled string, ok bool) {
	for _, name := range placed(text) {
		if c[name] == "" {
			return "", false
		}
	}
	return placeholders.ReplaceAllStringFunc(text, func(place string) string {
		if v, ok := c[strings.Trim(place, "{}")]; ok {
			return v
		}
		return place
	}), true
}

func (c credentials) filled(in map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range in {
		if v, ok := c.fill(text); ok {
			out[name] = v
		}
	}
	return out
}
