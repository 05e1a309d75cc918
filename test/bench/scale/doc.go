// Package scale computes what fleets of many sizes need, from the unit costs that
// the bench has measured on one machine.
package scale
