// Package provider knows OAuth 2.0 token endpoints (RFC 6749): it has a catalogue of
// real ones, makes the refresh request, and reads the replies.
package provider
