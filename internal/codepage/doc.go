// Package codepage writes docs/codes.md: every code that a program, an operator or a
// customer may meet, with what it means and what to do. What a customer is told is what
// package client/words says. Its tests compare the lines with the lists of the code, so
// a new code without a line fails.
package codepage
