package api

// SecretMatches is the comparison of a presented secret.
var SecretMatches = secretMatches

// Statuses is the table from a code to HTTP.
var Statuses = statuses

// CheckJSON is the check of every body.
func CheckJSON(body []byte) *Problem { return (&API{}).checkJSON(body) }
