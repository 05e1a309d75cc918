// Package cli is the command line: the program perennial calls [Main], and a platform
// team's own program may call it too.
package cli
