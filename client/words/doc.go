// Package words has the words that product code shares with Perennial: a connection's
// status, health and reason, the outcome of a consent, the code of an error, and secrets
// that hide themselves. Package perennial, the vocabulary of the whole, has them under
// the same names. It imports the standard library only.
package words
