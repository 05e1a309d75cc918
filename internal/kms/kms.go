// Package kms finds the key that wraps the keysets. Only mains import it: it
// brings the cloud providers' SDKs.
package kms

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
	"github.com/tink-crypto/tink-go-gcpkms/v2/integration/gcpkms"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KEK returns the key at uri: aws-kms://ARN, gcp-kms://projects/..., or
// hcvault://HOST/PATH with the token in VAULT_TOKEN. Credentials of the clouds
// come from their SDKs' usual places.
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
		c, err = hcvault.NewClient(uri, nil, os.Getenv("VAULT_TOKEN"))
	default:
		return nil, perennial.Errorf(perennial.CodeInvalid, "kms_uri %q: use aws-kms://, gcp-kms:// or hcvault://", uri)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the key at %s: %w", uri, err)
	}
	return c, nil
}
