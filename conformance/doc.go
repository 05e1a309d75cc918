// Package conformance holds tests of the refresh engine against an OAuth server
// that is not ours: one built on ory/fosite, whose refresh tokens rotate and
// whose reuse detection ends the whole grant. It is a module of its own, so that
// the product never depends on that server.
package conformance
