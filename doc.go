// Package perennial is the vocabulary of Perennial: software that keeps a
// company's third-party OAuth 2.0 (RFC 6749) connections alive for years.
//
// # Words, in reading order
//
// What is kept:
//
//   - Connection: one customer's grant at one provider account, a row of the table
//     connections. Its id never changes. See [Connection].
//   - App: one client registration (RFC 6749 section 2) at one provider, in one
//     environment. Every connection belongs to an app.
//   - Token set: an access token with the refresh token that renews it, their
//     lifetimes and scopes. See [TokenSet]. It is sealed (encrypted) wherever it is
//     stored.
//   - Generation: counts the token sets of a connection. A write of tokens names the
//     generation that it replaces, and does nothing if the row has another one.
//   - Status, health, reason: how a connection is. [Describe] turns them into text for
//     the customer.
//   - Connect session: one link by which a customer gives consent. See [ConnectSession].
//
// What a refresh does:
//
//   - Refresh: presents the refresh token to the token endpoint (RFC 6749 section 6) and
//     stores the new token set.
//   - Attempt: one presentation of a refresh token. What came of it is its [Outcome].
//   - Ledger: the table attempts, one line for each attempt. Lines are only added.
//   - Forced refresh: one that a caller asks for while the connection is well and not due.
//     A second one waits: see [Floor].
//   - Replay class: what a provider does when it sees an old refresh token again. See
//     [ReplayClass].
//   - Fence: the open attempt in a connection's row. While it is there, no other attempt
//     may present the connection's refresh token.
//   - Claim: takes the fence. It also proves that the database accepts writes before a
//     refresh token is spent.
//   - Lease: how long a claim may keep the fence. When it ends, the attempt counts as lost.
//   - Unsaved token set: a set that a provider has sent and no database has yet. It waits,
//     sealed, in the workflow and in the spool, a folder beside the process.
//
// What an app's connections share:
//
//   - Gate: decides, before the fence, whether the app allows a refresh now. Circuit,
//     rate slots and slow-down make it up.
//   - Circuit: opens when an app's refreshes at one host fail in a row for a cause that is
//     not the connection's. While it is open, only canaries are presented.
//   - Canary: the one connection that probes whether an open circuit may close.
//   - Stop: while an operator has stopped an app, nothing of it is presented.
//   - Release: wakes the connections that waited while the circuit was open, at a bounded
//     rate. (The command `perennial app release` ends a refusal hold.)
//   - Rate slot: a moment at which an app with a limit of requests a second may send one.
//   - Slow-down: a time for which the provider asked the app to send nothing (Retry-After).
//   - Refusal hold: while it is raised, no refusal moves a connection to
//     reconnect_required. A spike of refusals raises it; an operator ends it.
//
// Who does the work:
//
//   - Connection workflow: the Temporal workflow of one connection. It sleeps until the
//     token is due and refreshes it.
//   - App workflow: tells the story of an app in trouble, and does its probes and releases.
//   - Nudge: a signal that makes a connection workflow read its row again.
//   - Pacer: refreshes the due, healthy connections of a pooled app in bulk, so that their
//     workflows can sleep.
//   - Sweep: a scheduled workflow that finds connections whose workflow missed a due time,
//     and nudges them. It also deletes old rows.
//   - Neglect: a connection is overdue and was passed over, though nothing kept it from
//     being refreshed. Temporal may be away, or answer and do nothing.
//   - Fallback: a worker or a client refreshes a neglected connection in its own process.
//   - Outbox: the table of that name. An event is written in the transaction that makes the
//     change, and delivered to webhooks later.
//
// Two more types recur: a [Secret] hides its value everywhere but in one method, and a
// [Revocation] says what became of a grant when its connection was disconnected.
//
// This package imports the standard library only. Its values are safe for concurrent
// reading; nothing in it keeps state.
package perennial
