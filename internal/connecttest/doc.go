// Package connecttest is a whole connect flow for tests: the pages over TLS,
// PostgreSQL, the fake provider, and a product that customers return to.
package connecttest
