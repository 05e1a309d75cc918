// Package sim runs the scheduling policy over a fleet of a million connections on
// a virtual clock: no Temporal, no database, no provider. When a token is renewed,
// how a failure backs off and in which order a limit lets connections through are
// asked of the packages that decide them in production (refresh.DueAfter,
// refresh.MinBackoff, store.Turns, store.ProbeWait), so a changed policy changes
// the figures.
//
// What it leaves out: a refresh takes no time, a worker is never busy, and
// connections held by an open circuit are let go as soon as it closes, where the
// real ones may wait for the next sweep.
package sim
