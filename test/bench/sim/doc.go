// Package sim runs the scheduling policy for a fleet of a million connections on a
// virtual clock: no Temporal, no database, no provider. It calls the functions that
// decide in production when a token is refreshed, how long a failure backs off, and in
// which order a limit admits connections (timing.DueAfter, timing.MinBackoff,
// store.RateSlots, store.ProbeWait). So a changed policy changes the figures.
//
// It leaves out three things: a refresh takes no time, a worker is never busy, and a
// closing circuit releases its connections at once, where real ones may wait for the
// next sweep.
package sim
