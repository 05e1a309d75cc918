// Package codepage writes docs/codes.md: every code that a program, an operator or a
// customer may meet, with what it means and what to do. The customer's texts come from
// package client/words. Its tests compare the lines with the lists of the code, so
// a new code without a line fails.
package codepage
