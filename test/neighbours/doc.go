// Package neighbours tests that nobody's trouble becomes anybody else's. It runs a fleet
// of healthy connections beside sick ones for half an hour of virtual time, and asks
// the effects on the healthy ones. It has only tests.
//
// # One clock
//
// A cell runs in a bubble of testing/synctest: time stands still while anything in the
// bubble runs, and jumps to the next timer when everything waits. So half an hour takes
// seconds, and no two clocks differ. This is how each of them moves:
//
//   - The engine, the client of the token endpoint, the activities of the pacers, the
//     sweep and the release are the real ones. They read the bubble's time, and their
//     timers are the bubble's.
//   - The database is a real PostgreSQL, and a statement that is under way keeps the
//     time from moving, as anything does that waits for a socket. Its clock is moved by
//     hand: every statement of the product reads clock_timestamp(), without a schema, and
//     the search path of a cell's database has a function of that name before
//     PostgreSQL's own. It returns what stands in a sequence, which [clocked] sets to the
//     bubble's time before each call of the store.
//   - The provider is an [http.RoundTripper] that sleeps in the bubble.
//   - The workflow of a connection is a loop, see [flow], which makes the decisions of
//     package workflows with the functions that these use: a Temporal server could not
//     live in a bubble.
package neighbours
