// Package connect changes what a connection is: it stores the tokens of a
// consent, pauses, resumes and disconnects. The row is written first, by
// compare-and-set; then the connection's workflow is told to read it again.
// [Sessions] lets customers give that consent by a link (RFC 6749 section 4.1).
package connect
