// Package providerpages writes docs/providers from the catalogue: a page for each
// provider, and a table of them all. Whatever a description leaves out is named as such,
// so that a reader does not take silence for a fact.
package providerpages
