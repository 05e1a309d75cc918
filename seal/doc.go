// Package seal encrypts tokens at rest with Tink AEAD. Access tokens and refresh tokens
// have separate keysets, so that a process that only hands out access tokens cannot
// open a refresh token.
package seal
