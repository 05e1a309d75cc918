// Package doctor checks a whole installation and names the step to take for each problem.
// It looks at the database, the keys, Temporal, the connections, the apps, the spool
// of this machine, the webhooks and the configuration.
//
// Its result is data, so that a command line, an API and a page can show it. It changes
// nothing but the use that a keyring and a connection make of a server, and it holds no
// secret. Text in it may come from rows and from Temporal: escape it where it is shown
// (package printable).
//
// Each check is one function in the list of list.go. Every check is bounded in time, and
// in what it reads: it samples, or follows an index. All run at once, and one that hangs
// delays no other.
package doctor
