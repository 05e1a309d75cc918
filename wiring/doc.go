// Package wiring wires Perennial's processes: it reads the configuration, opens the
// store, keys and spool, checks them, and runs a worker or a server until it should
// stop. A platform team's own worker uses [Open] and [Deps.Register].
package wiring
