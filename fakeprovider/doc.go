// Package fakeprovider is an OAuth 2.0 authorization server (RFC 6749, 7009, 7636,
// 7662) that misbehaves on demand, with an oracle that reports what really happened.
// With a [Play] it answers as one provider of the catalogue does. It is for tests and
// demonstrations; it protects no secrets.
package fakeprovider
