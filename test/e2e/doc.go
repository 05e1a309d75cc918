// Package e2e tests the real programs with a real Temporal server, real databases and
// the fake provider. It has only tests.
package e2e
