// Package measure finds by experiment how a token endpoint treats tokens: whether a
// refresh rotates, what an old refresh token is still good for and what presenting it
// costs (RFC 9700 section 4.14.2), whether the client is checked before the grant, how
// long an access token lives, what a revocation reaches.
//
// It uses grants made for the experiment, never a customer's: [Config]
// has a function that asks for a consent, and nothing here reads a store. The tokens stay
// in memory, and at the end the grants are revoked.
//
// [Plan] lists the experiments with their cost, and [Run] makes them. What an experiment
// could not show is said to be not measured, with the reason; nothing is guessed.
package measure
