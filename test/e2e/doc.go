// Package e2e holds the tests that run the real programs against a real Temporal
// server, real databases and the fake provider. It has no code of its own.
package e2e
