// Package perennial is the vocabulary of Perennial: software that keeps a
// company's third-party OAuth 2.0 (RFC 6749) connections alive for years.
//
// The words, in reading order:
//
//   - A [Connection] is one customer's grant at one provider account. Its id
//     is stable for ever.
//   - Its Generation grows by one with every stored token set. Every write is
//     guarded by it and every message carries it.
//   - An [Attempt] is one presentation of a refresh token to a token endpoint.
//     What became of it is its [Outcome].
//   - A [ReplayClass] says what a provider does when an old refresh token is
//     shown again.
//   - [Status], [Health] and [Reason] say how a connection is. [Describe] turns
//     the three into the customer's words.
//   - A [ConnectSession] is one link by which a customer gives consent; its
//     [ConnectOutcome] is told by [DescribeConnect].
//   - A [Revocation] is what became of a grant at its provider when its
//     connection was ended.
//   - A [Secret] redacts itself everywhere but in one method.
//
// This package imports the standard library only. Its values are safe for
// concurrent reading; nothing in it keeps state.
package perennial
