package provider

import (
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial/internal/printable"
)

// Choice is one of the accounts that a grant reaches.
type Choice struct {
	ID    string
	Title string // the provider's name for it; may be empty
}

// Account is what a provider says about the account of an access token.
type Account struct {
	ID     string   // empty: the grant reaches several accounts
	Scopes []string // nil: the provider does not say
	// Choices are the accounts, if the grant reaches several. Their order means nothing:
	// the first is as good as the last.
	Choices []Choice
}

// Reaches reports whether the grant can be used for the account called id.
func (a Account) Reaches(id string) bool {
	return id != "" && slices.Contains(a.IDs(), id)
}

// IDs returns the ids of all accounts that the grant reaches.
func (a Account) IDs() []string {
	if a.ID != "" {
		return []string{a.ID}
	}
	var out []string
	for _, c := range a.Choices {
		out = append(out, c.ID)
	}
	return out
}

// accountOf returns an account of the choices: one has an id, several have to be chosen
// from.
func accountOf(choices []Choice) Account {
	if len(choices) == 1 {
		return Account{ID: choices[0].ID}
	}
	return Account{Choices: choices}
}

// maxAccountTitle bounds an account's title, in bytes.
const maxAccountTitle = 100

// choices returns the accounts in an answer, each once. It leaves out what cannot be an
// account's id.
func (s AccountSource) choices(body any) []Choice {
	var out []Choice
	seen := map[string]bool{}
	for _, h := range holders(body, strings.Split(s.Name, ".")) {
		id := at(h.value, h.rest)
		if !isAccount(id) || seen[id] {
			continue
		}
		seen[id] = true
		c := Choice{ID: id}
		if title := at(h.value, s.Title); s.Title != "" && printable.Is(title) {
			c.Title = clean(title, maxAccountTitle)
		}
		out = append(out, c)
	}
	return out
}

// holder is a value that has one account's id, and the path to the id in it.
type holder struct {
	value any
	rest  string
}

// holders follows a path until none of its parts stands for all elements of a list. "*"
// does, and so does "0", with which a path named the first account of a list before.
func holders(v any, path []string) []holder {
	i := slices.IndexFunc(path, func(part string) bool { return part == "*" || part == "0" })
	if i < 0 {
		return []holder{{v, strings.Join(path, ".")}}
	}
	for _, part := range path[:i] {
		v = child(v, part)
	}
	list, ok := v.([]any)
	if !ok {
		return holders(child(v, path[i]), path[i+1:]) // an object with such a member
	}
	var out []holder
	for _, element := range list {
		out = append(out, holders(element, path[i+1:])...)
	}
	return out
}
