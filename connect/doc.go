// Package connect changes connections: it stores the tokens of a consent, pauses,
// resumes and disconnects. It first writes the row, by compare-and-set, and then
// signals the connection's workflow to read it. [Sessions] lets customers give the
// consent by a link (RFC 6749 section 4.1).
package connect
