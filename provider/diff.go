package provider

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Change is one difference between two descriptions.
type Change struct {
	Key    string `json:"key"`  // "replay_class", "auth_params.prompt"
	From   string `json:"from"` // "": it was not there
	To     string `json:"to"`   // "": it is not there any more
	Effect string `json:"effect,omitempty"`
}

// Diff lists what changes if to takes the place of from, in the order of a description's
// keys, with what that means for the connections of an app in use.
func Diff(from, to Entry) []Change {
	var changes []Change
	before, after := parts(Describe(from)), parts(Describe(to))
	for _, key := range keysOf(before, after) {
		old, now := before[key], after[key]
		if slices.Equal(old, now) {
			continue
		}
		top, _, _ := strings.Cut(key, ".")
		for _, c := range compare(key, old, now) {
			c.Effect = effects[top]
			changes = append(changes, c)
		}
	}
	return changes
}

// compare lists the elements that only one side has. If both have the same, their order
// differs.
func compare(key string, old, now []string) []Change {
	if len(old) == 1 && len(now) == 1 {
		return []Change{{Key: key, From: old[0], To: now[0]}}
	}
	var changes []Change
	for _, v := range old {
		if !slices.Contains(now, v) {
			changes = append(changes, Change{Key: key, From: v})
		}
	}
	for _, v := range now {
		if !slices.Contains(old, v) {
			changes = append(changes, Change{Key: key, To: v})
		}
	}
	if changes == nil {
		return []Change{{Key: key, From: strings.Join(old, ", "), To: strings.Join(now, ", ")}}
	}
	return changes
}

// parts returns a description's values as texts: one for each key, or for each element
// of a list. Maps and objects are spread over keys of their own.
func parts(d Description) map[string][]string {
	out := map[string][]string{}
	v := reflect.ValueOf(d)
	for field, value := range v.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		spread(out, key, value)
	}
	return out
}

func spread(out map[string][]string, key string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			spread(out, key, v.Elem())
		}
	case reflect.Map:
		for _, name := range v.MapKeys() {
			spread(out, key+"."+name.String(), v.MapIndex(name))
		}
	case reflect.Slice:
		for i := range v.Len() {
			out[key] = append(out[key], flow(v.Index(i).Interface()))
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if !field.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			spread(out, key+"."+name, value)
		}
	default:
		if !v.IsZero() {
			out[key] = []string{fmt.Sprint(v.Interface())}
		}
	}
}

// flow writes a value on one line.
func flow(v any) string {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	n.Style = yaml.FlowStyle
	raw, err := yaml.Marshal(&n)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(string(raw)), " ")
}

// keysOf returns the keys of both, in the order of a description.
func keysOf(a, b map[string][]string) []string {
	var keys []string
	for field := range reflect.TypeFor[Description]().Fields() {
		top, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		var under []string
		for _, m := range []map[string][]string{a, b} {
			for key := range m {
				if key == top || strings.HasPrefix(key, top+".") {
					under = append(under, key)
				}
			}
		}
		slices.Sort(under)
		keys = append(keys, slices.Compact(under)...)
	}
	return keys
}

const (
	otherRequests = "Token requests have another form, from the next one on."
	otherConsents = "New consents are asked for or checked in another way; connections that exist stay as they are."
	otherReading  = "Replies are read in another way, from the next one on."
	otherClock    = "Connections count with it from their next refresh or consent on; the times that they have stay."
)

// effects say what a change of a key means for an app in use. A key without one is for
// people only.
var effects = map[string]string{
	"auth_url":       otherConsents,
	"token_url":      "Refresh tokens and the client secret go to the new endpoint, from the next refresh on. Circuits are kept by host: at another host none is open.",
	"introspect_url": otherConsents,
	"refresh_url":    "Refreshes go to the new endpoint; without one, to token_url.",
	"revoke_url":     "A disconnect revokes at the new endpoint; at none, the customer must remove the access.",
	"hosts":          "Connections at a host that is no longer allowed are not refreshed.",
	"host_from":      otherConsents,

	"grant":                "Connections of the other kind of grant are not refreshed any more: make them anew.",
	"grant_type":           otherRequests,
	"renewal":              "Connections of the other kind are not refreshed any more: their customers must reconnect.",
	"exchange":             otherRequests,
	"first_exchange":       otherRequests,
	"check_url":            "Access tokens are looked at there, from the next look on.",
	"credentials":          "New connections need these. One that has not what a value needs is asked for without it.",
	"credentials_optional": "New connections may have these.",

	"auth_style":      otherRequests,
	"assertion":       otherRequests,
	"secret_as_user":  otherRequests,
	"json_body":       otherRequests,
	"refresh_params":  otherRequests,
	"request_headers": otherRequests,
	"auth_params":     otherConsents,

	"replay_class":               "It decides what happens after a refresh whose reply was lost: whether, when and how often the refresh token is presented again. It counts from the next attempt on, also for connections in doubt.",
	"grace_window":               "It decides for how long a refresh token in doubt is presented again. It counts from the next attempt on.",
	"grace_reply":                "It decides for how long a dead worker's attempt bars the refresh token, if the window is short. It counts from the next attempt on.",
	"after_grace":                "It decides whether a refresh token in doubt is presented again before the access token's end, once the window is over. It counts from the next attempt on.",
	"refresh_kills_access_token": "It decides whether an access token is still handed out after its successor was stored.",
	"checks_client_first":        "It decides whether a refused grant shows that the client is right, and so closes a circuit.",

	"refresh_within":   otherClock,
	"default_lifetime": otherClock,
	"idle_lifetime":    otherClock,
	"grant_lifetime":   "New consents count with it; connections that exist keep their end.",

	"scope_separator":    otherConsents,
	"scopes_unnamed":     otherConsents,
	"scopes_imply":       otherConsents,
	"scope_prefixes":     otherConsents,
	"scopes_ignore_case": otherConsents,
	"issuer":             otherConsents,
	"issuer_sent":        otherConsents,
	"mcp":                "Another server describes the provider. New consents are for it; connections that exist may be at another token endpoint.",
	"account":            "New consents name their accounts in another way: a reconnect may be refused as that of another account, and a connect may make a second connection.",

	"tokens_under":      otherReading,
	"members_at":        otherReading,
	"lifetime_unit":     otherReading,
	"metadata_fields":   otherReading,
	"request_id_header": otherReading,
	"rate_limit_scope":  "It decides which connections wait after a 429.",
	"api_spellings":     "Product code gets a newer token after these answers of the API. It counts once a client has loaded the connection again.",
	"read_posts":        "These POSTs are sent a second time with a newer token after a 401; others are not.",
	"spellings":         "Replies in these words have another outcome from the next one on: revoked leads to a reconnect after a second refusal, misconfigured to the app's circuit, every other keeps trying.",
}
