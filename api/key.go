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

// A key reads pk_<id>_<secret>: 64 and 256 random bits in hexadecimal. The prefix pk_
// makes leaked keys easy to search for.
const (
	keyPrefix   = "pk_"
	keyIDBytes  = 8
	secretBytes = 32
)

// NewKey makes a key for a tenant. It returns the whole key only this once; the stored
// key has the hash of its secret.
//
// The hash is one SHA-256, not a password's slow hash. A slow hash makes guessing of
// human choices slow, but nobody guesses 256 random bits. It would cost each request,
// and let anybody without a key keep the server busy.
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

// splitKey splits a key into its id and its secret. A key that NewKey cannot have made
// is not looked up.
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

// KeyLasts is how long a key that was read counts as valid. A revocation therefore
// holds in every process after this time at the latest.
const KeyLasts = 3 * time.Second

// maxKeys bounds the memory of keys; past it everything is forgotten.
const maxKeys = 10_000

// keys verifies API keys. It is safe for concurrent use.
type keys struct {
	store   *KeyStore
	now     func() time.Time
	flights singleflight.Group
	list    *keyList

	mu    sync.RWMutex
	known map[string]knownKey
}

func newKeys(store *KeyStore, now func() time.Time) *keys {
	return &keys{store: store, now: now, known: map[string]knownKey{}, list: &keyList{store: store, now: now}}
}

type knownKey struct {
	key    perennial.APIKey // zero: there is none
	readAt time.Time
}

// verify returns the key whose secret was presented. ok is false for an unknown, a
// wrong, a revoked and an expired key alike, after the same work. err means that the look-up
// failed. verify calls may before it looks up a key that is not in memory. If may
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
	if !secretMatches(key.SecretHash, secret) || !key.Works(k.now()) {
		return perennial.APIKey{}, false, nil
	}
	k.used(ctx, key)
	return key, true, nil
}

// used records the use of a key by its right secret, at most once an hour.
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
	_ = k.store.Touch(ctx, key.ID) // a failure costs only the record
}

// secretMatches compares in a time that reveals neither where they differ nor whether
// there is such a key.
func secretMatches(hash []byte, secret string) bool {
	got := sha256.Sum256([]byte(secret))
	want, known := [sha256.Size]byte{}, len(hash) == sha256.Size
	if known {
		want = [sha256.Size]byte(hash)
	}
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
}

// remembered returns a key that was read less than [KeyLasts] ago; zero: there is no
// such key.
func (k *keys) remembered(id string) (key perennial.APIKey, fresh bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	known, ok := k.known[id]
	return known.key, ok && k.now().Sub(known.readAt) < KeyLasts
}

func (k *keys) read(ctx context.Context, id string) (perennial.APIKey, error) {
	now := k.now()
	read, err, _ := k.flights.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout) // other requests wait for it too
		defer cancel()
		key, err := k.store.Get(ctx, id)
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

// keyTimeout bounds the look-up of one key.
const keyTimeout = 3 * time.Second

// keyList has the hashes of all keys and reads them at most once in [KeyLasts]. It
// serves an address that is over its limit: guesses then cost no look-up, and the
// address's valid keys still pass, even those that this process has not seen before. It
// is safe for concurrent use.
type keyList struct {
	store *KeyStore
	now   func() time.Time

	mu     sync.Mutex
	hashes map[string][]byte // by id
	readAt time.Time
}

// holds reports whether there is a key with this id and secret.
func (l *keyList) holds(ctx context.Context, id, secret string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); l.hashes == nil || now.Sub(l.readAt) >= KeyLasts {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
		defer cancel()
		all, err := l.store.List(ctx, perennial.WorkerAccess())
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
