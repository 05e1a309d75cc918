package host

import "net/http"

// PagesPath is where the pages are mounted on which customers connect and
// reconnect.
const PagesPath = "/connect/"

// pages is the handler of [PagesPath]. There is none yet: nothing is found there.
func pages() http.Handler { return http.NotFoundHandler() }
