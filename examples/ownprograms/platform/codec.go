package platform

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// Encoding marks an encrypted payload.
const Encoding = "binary/encrypted"

// Codec encrypts payloads with AES-GCM. It is safe for concurrent use.
type Codec struct {
	// DecodeOnly is for the time before a codec is switched on: the program reads encrypted
	// payloads and writes plain ones, so that programs without the codec read those.
	DecodeOnly bool

	aead cipher.AEAD
}

// NewCodec returns a codec with a key of 16, 24 or 32 bytes.
func NewCodec(key []byte) (*Codec, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Codec{aead: aead}, err
}

var _ converter.PayloadCodec = (*Codec)(nil)

// Encode implements converter.PayloadCodec.
func (c *Codec) Encode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	if c.DecodeOnly {
		return in, nil
	}
	out := make([]*commonpb.Payload, len(in))
	for i, p := range in {
		raw, err := p.Marshal()
		if err != nil {
			return nil, err
		}
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(Encoding)},
			Data:     c.aead.Seal(make([]byte, 0, len(raw)+64), nil, raw, nil),
		}
	}
	return out, nil
}

// Decode implements converter.PayloadCodec. It leaves a payload that is not encrypted
// as it is: Temporal holds some from before the codec.
func (c *Codec) Decode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(in))
	for i, p := range in {
		if string(p.GetMetadata()[converter.MetadataEncoding]) != Encoding {
			out[i] = p
			continue
		}
		raw, err := c.aead.Open(nil, nil, p.Data, nil)
		if err != nil {
			return nil, errors.New("this key does not open the payload")
		}
		out[i] = &commonpb.Payload{}
		if err := out[i].Unmarshal(raw); err != nil {
			return nil, fmt.Errorf("the opened payload is damaged: %w", err)
		}
	}
	return out, nil
}
