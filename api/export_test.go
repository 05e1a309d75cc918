package api

// SecretMatches compares a presented secret.
var SecretMatches = secretMatches

// Statuses is the table from a code to an HTTP status.
var Statuses = statuses

// CheckJSON is the check of every body.
func CheckJSON(body []byte) *Problem { return (&API{}).checkJSON(body) }
