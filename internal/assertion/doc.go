// Package assertion reads private keys and signs JSON Web Tokens with them: those by
// which a client authenticates, and those that ask for a grant (RFC 7523). No error
// repeats any part of a key.
package assertion
