// Package words has the words that product code shares with Perennial: what a connection
// is like, what became of a consent, why a call failed, and secrets that hide
// themselves. Package perennial, the vocabulary of the whole, has them under the same
// names. It imports the standard library only.
package words
