package words

// Revocation is what happened to a grant at its provider when its connection was
// disconnected (RFC 7009).
type Revocation string

// The revocations.
const (
	RevocationDone        Revocation = "done"
	RevocationFailed      Revocation = "failed"      // the grant may live on at the provider
	RevocationUnsupported Revocation = "unsupported" // the provider has no revocation endpoint
	RevocationNone        Revocation = "none"        // there was no grant to revoke
)
