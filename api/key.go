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

// splitKey cuts a key into its id and its secret. What NewKey cannot have made is
// no key: nothing is looked up for it.
func splitKey(key string) (id, secret string, ok bool) {
	const idEnds = len(keyPrefix) + 2*keyIDBytes
	if len(key) != idEnds+1+2*secretBytes || !strings.HasPrefix(key, keyPrefix) || key[idEnds] != '_' {
		return "", "", false
	}
	id, secret = key[:idEnds], key[idEnds+1:]
	return id, secret, isHex(id[len(keyPrefix):]) && isHex(secret)
}

func isHex(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

// KeyLasts is for how long a key that was read is believed: so soon at the latest a
// revocation holds in every process.
const KeyLasts = 3 * time.Second

// mostKeys bounds what is remembered; past it everything is forgotten.
const maxKeys = 10_000

// keys verifies API keys. It is safe for concurrent use.
type keys struct {
	store   Store
	now     func() time.Time
	flights singleflight.Group
	list    *keyList

	mu    sync.RWMutex
	known map[string]knownKey
}

type knownKey struct {
	key    perennial.APIKey // zero: there is none
	readAt time.Time
}

// verify returns the key whose secret was presented. ok is false for an unknown, a
// wrong and a revoked one alike, after the same work; err says that it could not be
// looked up. verify calls may before it looks up a key that is not in memory. If may
// returns false, verify looks the key up only if the list of all keys has it.
func (k *keys) verify(ctx context.Context, presented string, may func() bool) (key perennial.APIKey, ok bool, err error) {
	id, secret, ok := splitKey(presented)
	if !ok {
		return perennial.APIKey{}, false, nil
	}
	key, fresh := k.remembered(id)
	if !fresh {
		if !may() {
			if listed, err := k.list.holds(ctx, id, secret); err != nil || !listed {
				return perennial.APIKey{}, false, err
			}
		}
		if key, err = k.read(ctx, id); err != nil {
			return perennial.APIKey{}, false, err
		}
	}
	if !secretMatches(key.SecretHash, secret) || !key.RevokedAt.IsZero() {
		return perennial.APIKey{}, false, nil
	}
	k.used(ctx, key)
	return key, true, nil
}

// used notes at most once an hour that a key was used, by its right secret.
func (k *keys) used(ctx context.Context, key perennial.APIKey) {
	now := k.now()
	if now.Sub(key.LastUsedAt) <= usedEvery {
		return
	}
	k.mu.Lock()
	known, ok := k.known[key.ID]
	first := !ok || now.Sub(known.key.LastUsedAt) > usedEvery
	if ok && first {
		known.key.LastUsedAt = now
		k.known[key.ID] = known
	}
	k.mu.Unlock()
	if !first {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	defer cancel()
	_ = k.store.TouchKey(ctx, key.ID) // its failure costs only the note
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

// remembered returns a key that was read less than [KeyLasts] ago; zero: there is
// none.
func (k *keys) remembered(id string) (key perennial.APIKey, fresh bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	known, ok := k.known[id]
	return known.key, ok && k.now().Sub(known.readAt) < KeyLasts
}

func (k *keys) read(ctx context.Context, id string) (perennial.APIKey, error) {
	now := k.now()
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
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.known) >= maxKeys {
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

// keyList holds the hashes of all keys and reads them at most once in [KeyLasts]. It
// serves an address that is over its limit: guesses then cost no look-up, and the
// address's valid keys still pass, also those new to this process. It is safe for
// concurrent use.
type keyList struct {
	store Store
	now   func() time.Time

	mu     sync.Mutex
	hashes map[string][]byte // by id
	readAt time.Time
}

// holds reports whether there is a key of this id and secret.
func (l *keyList) holds(ctx context.Context, id, secret string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); l.hashes == nil || now.Sub(l.readAt) >= KeyLasts {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
		defer cancel()
		all, err := l.store.Keys(ctx, "")
		if err != nil {
			return false, err
		}
		l.hashes, l.readAt = make(map[string][]byte, len(all)), now
		for _, key := range all {
			l.hashes[key.ID] = key.SecretHash
		}
	}
	return secretMatches(l.hashes[id], secret), nil
}
