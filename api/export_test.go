package api

// SecretMatches is the comparison of a presented secret.
var SecretMatches = secretMatches
