// Command perennial is for people: it migrates the database, makes keys, connects
// accounts, looks after connections, and runs a whole demonstration (dev).
//
// Exit codes: 0 done; 1 another failure; 2 wrong usage or settings; 3 no such
// connection; 4 refused because of the stored state; 5 only the user can help
// (reconnect, resume); 6 a server does not answer, try again.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/starter/cli"
)

func main() { os.Exit(cli.Main()) }
