// Package words has the words that product code shares with Perennial: a connection's
// status, health and reason, what became of a consent, why a call failed, and secrets
// that hide themselves. Package perennial, the vocabulary of the whole, has them under
// the same names. It imports the standard library only.
package words
