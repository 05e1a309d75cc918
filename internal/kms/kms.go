// Package kms finds the key that wraps the keysets. Only main packages import it,
// because it imports the cloud providers' SDKs.
package kms

import (
	"context"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/perennial-oauth/perennial"
	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
	"github.com/tink-crypto/tink-go-gcpkms/v2/integration/gcpkms"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KEK returns the key at uri:
//
//	aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID
//	gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//	hcvault://HOST:PORT/MOUNT/keys/NAME
//
// The cloud SDKs find their credentials in their usual places. Vault, always asked over
// TLS, takes them from VAULT_TOKEN, VAULT_CACERT, VAULT_NAMESPACE and the other
// variables of its own client. KEK does not use the key: a wrong one is an error only
// when it wraps or unwraps a keyset.
func KEK(ctx context.Context, uri string) (tink.AEAD, error) {
	client, err := client(ctx, uri)
	if err != nil {
		return nil, err
	}
	kek, err := client.GetAEAD(uri)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "kms_uri %q cannot be used: %w", uri, err)
	}
	return kek, nil
}

func client(ctx context.Context, uri string) (registry.KMSClient, error) {
	var c registry.KMSClient
	var err error
	switch scheme, _, _ := strings.Cut(uri, "://"); scheme {
	case "aws-kms":
		c, err = awskms.NewClientWithOptions(ctx, uri)
	case "gcp-kms":
		c, err = gcpkms.NewClient(ctx, uri)
	case "hcvault":
		c, err = vault(uri)
	default:
		return nil, perennial.Errorf(perennial.CodeInvalid, "kms_uri %q: use aws-kms://, gcp-kms:// or hcvault://", uri)
	}
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "reach the key at %s: %w", uri, err)
	}
	return c, nil
}

// vault does not use hcvault.NewClient, for two reasons. That sends the associated data
// as "context", which Vault ignores for ordinary keys, so one keyset's file would
// unwrap under the other's name. And it overrides VAULT_CACERT.
func vault(uri string) (registry.KMSClient, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return nil, perennial.Errorf(perennial.CodeInvalid, "write it as hcvault://HOST:PORT/MOUNT/keys/NAME")
	}
	if os.Getenv(api.EnvVaultToken) == "" && os.Getenv(api.EnvVaultAgentAddr) == "" {
		return nil, perennial.Errorf(perennial.CodeInvalid, "set VAULT_TOKEN to a token that may encrypt and decrypt with this key")
	}
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address = "https://" + u.Host
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	return hcvault.NewClientWithAEADOptions(uri, client.Logical())
}
