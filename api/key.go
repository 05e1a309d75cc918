package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/sync/singleflight"
)

// A key reads pk_<id>_<secret>: 64 and 256 random bits in hexadecimal. What begins
// with pk_ can be looked for where it does not belong.
const (
	keyPrefix   = "pk_"
	keyIDBytes  = 8
	secretBytes = 32
)

// NewKey makes a key of a tenant. The whole key is returned beside it, for this
// once; what is kept is the hash of its secret.
//
// The hash is one SHA-256, not a password's slow hash: that makes guessing what
// people think of slow, and nobody guesses 256 random bits. A slow one would cost
// each request, and let anybody without a key keep the server busy.
func NewKey(tenant, name string, scopes ...perennial.Scope) (perennial.APIKey, perennial.Secret) {
	random := func(n int) string {
		raw := make([]byte, n)
		_, _ = rand.Read(raw) // it never fails: crypto/rand ends the program instead
		return hex.EncodeToString(raw)
	}
	k := perennial.APIKey{ID: keyPrefix + random(keyIDBytes), TenantID: tenant, Name: name, Scopes: scopes}
	secret := random(secretBytes)
	hash := sha256.Sum256([]byte(secret))
	k.SecretHash = hash[:]
	return k, perennial.NewSecret(k.ID + "_" + secret)
}

// splitKey cuts a key into its id and its secret.
func splitKey(key string) (id, secret string, ok bool) {
	i := strings.LastIndexByte(key, '_')
	if i != len(keyPrefix)+2*keyIDBytes || !strings.HasPrefix(key, keyPrefix) {
		return "", "", false
	}
	return key[:i], key[i+1:], true
}

// KeyLasts is for how long a key that was read is believed: so soon at the latest a
// revocation holds in every process.
const KeyLasts = 3 * time.Second

// mostKeys bounds what is remembered; past it everything is forgotten.
const mostKeys = 10_000

// keys verifies API keys. It is safe for concurrent use.
type keys struct {
	store   Store
	now     func() time.Time
	flights singleflight.Group

	mu    sync.RWMutex
	known map[string]knownKey
}

type knownKey struct {
	key    perennial.APIKey // zero: there is none
	readAt time.Time
}

// verify returns the key whose secret was presented. ok is false for an unknown, a
// wrong and a revoked one alike; err says that it could not be looked up.
func (k *keys) verify(ctx context.Context, presented string) (key perennial.APIKey, ok bool, err error) {
	id, secret, ok := splitKey(presented)
	if !ok {
		return perennial.APIKey{}, false, nil
	}
	key, err = k.read(ctx, id)
	if err != nil {
		return perennial.APIKey{}, false, err
	}
	if !secretMatches(key.SecretHash, secret) || !key.RevokedAt.IsZero() {
		return perennial.APIKey{}, false, nil
	}
	return key, true, nil
}

// secretMatches compares in a time that says nothing of where they differ, nor of
// whether there is such a key.
func secretMatches(hash []byte, secret string) bool {
	got := sha256.Sum256([]byte(secret))
	want, known := [sha256.Size]byte{}, len(hash) == sha256.Size
	if known {
		want = [sha256.Size]byte(hash)
	}
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
}

func (k *keys) read(ctx context.Context, id string) (perennial.APIKey, error) {
	now := k.now()
	k.mu.RLock()
	known, ok := k.known[id]
	k.mu.RUnlock()
	if ok && now.Sub(known.readAt) < KeyLasts {
		return known.key, nil
	}
	read, err, _ := k.flights.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout) // others wait for it too
		defer cancel()
		key, err := k.store.Key(ctx, id)
		if perennial.CodeOf(err) == perennial.CodeNotFound {
			key, err = perennial.APIKey{}, nil
		}
		if err != nil {
			return key, err
		}
		if key.ID != "" && key.RevokedAt.IsZero() && now.Sub(key.LastUsedAt) > time.Hour {
			_ = k.store.TouchKey(ctx, id) // its failure costs only the note
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.known) >= mostKeys {
			clear(k.known)
		}
		k.known[id] = knownKey{key, now}
		return key, nil
	})
	if err != nil {
		return perennial.APIKey{}, err
	}
	return read.(perennial.APIKey), nil
}

// keyTimeout bounds the reading of one key.
const keyTimeout = 3 * time.Second
