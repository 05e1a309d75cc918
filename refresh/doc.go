// Package refresh is the engine that renews access tokens with refresh tokens
// (RFC 6749 section 6) without losing one that a provider rotates: claim the
// row, present once, save once. The database row is the fence; nothing here
// depends on Temporal running an activity only once.
package refresh
