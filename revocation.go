package perennial

// Revocation is what became of a grant at its provider when its connection was
// ended (RFC 7009).
type Revocation string

// The revocations.
const (
	RevocationDone        Revocation = "done"
	RevocationFailed      Revocation = "failed"      // the grant may live on at the provider
	RevocationUnsupported Revocation = "unsupported" // the provider has no revocation endpoint
	RevocationNone        Revocation = "none"        // there was nothing to revoke
)
