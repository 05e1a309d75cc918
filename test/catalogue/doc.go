// Package catalogue plays every provider of the catalogue and takes one connection after
// another through its life there: connect, refresh, rotate, and everything that goes
// wrong. It has only tests.
//
// # Who says what
//
// The fake provider is made from provider/testdata/NAME/fixtures.yaml, which is written
// from the sources; the entry fills only what the sources leave open. The engine has the
// entry alone. So an entry that says something else than its sources fails here, or
// tokens get lost here, before a customer's do.
//
// # One clock
//
// Each provider runs in a bubble of testing/synctest: a day passes as soon as everything
// waits. The connect sessions, the engine, the client of the token endpoint and the store
// are the real ones. The database is SQLite, whose clock is the bubble's too, see
// clock_test.go. Only the workflow is a loop, see [world.step], that waits by the same
// function as package workflows: a Temporal server could not live in a bubble.
// TestProviders of test/e2e takes five providers through the real one.
package catalogue
