// Package wiring wires Perennial's processes: it reads the configuration, opens what
// it names, checks it, and runs a worker or a server until it is told to stop. A
// platform team's own worker uses [Open] and [Deps.Register].
package wiring
