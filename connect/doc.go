// Package connect changes what a connection is: it stores the tokens of a
// consent, pauses, resumes and disconnects. The row is written first, by
// compare-and-set; then the connection's workflow is told to read it again.
package connect
