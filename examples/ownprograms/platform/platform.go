// Package platform is what a platform team adds to every Temporal client and worker: a
// codec that encrypts payloads, and an interceptor. The programs beside it are
// Perennial's own with it.
package platform

import (
	"context"
	"encoding/hex"
	"os"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
)

// Customize encrypts payloads with the key in PAYLOAD_KEY, 64 hexadecimal digits. With
// PAYLOAD_DECODE_ONLY=true it only decrypts: the first step of switching the codec on.
func Customize(ctx context.Context, o client.Options) (client.Options, error) {
	key, err := hex.DecodeString(os.Getenv("PAYLOAD_KEY"))
	if err != nil || len(key) != 32 {
		return o, perennial.Errorf(perennial.CodeInvalid, "set PAYLOAD_KEY to 64 hexadecimal digits")
	}
	codec, err := NewCodec(key)
	if err != nil {
		return o, err
	}
	codec.DecodeOnly = os.Getenv("PAYLOAD_DECODE_ONLY") == "true"
	return WithCodec(codec, &interceptor.InterceptorBase{})(ctx, o)
}

// With encrypts payloads with key and adds an interceptor; see [WithCodec].
func With(key []byte, i interceptor.ClientInterceptor) func(context.Context, client.Options) (client.Options, error) {
	return func(ctx context.Context, o client.Options) (client.Options, error) {
		codec, err := NewCodec(key)
		if err != nil {
			return o, err
		}
		return WithCodec(codec, i)(ctx, o)
	}
}

// WithCodec adds a codec and an interceptor. The interceptor's part for workers applies
// to a worker that uses the client.
func WithCodec(codec *Codec, i interceptor.ClientInterceptor) func(context.Context, client.Options) (client.Options, error) {
	return func(_ context.Context, o client.Options) (client.Options, error) {
		o.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec)
		// The texts of errors name connections.
		o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: o.DataConverter, EncodeCommonAttributes: true})
		o.Interceptors = append(o.Interceptors, i)
		return o, nil
	}
}
