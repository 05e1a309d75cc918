package wiring

import (
	"io"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

const (
	// codecTimeout bounds one call to the codec server. A workflow task has 10 s.
	codecTimeout = 3 * time.Second
	// maxCodecReply bounds a codec server's answer. Temporal takes 2 MiB in one
	// payload; a reply has its Base64.
	maxCodecReply = 16 << 20
	// codecConnections stay open to the codec server: every payload is a call.
	codecConnections = 64
)

// overCodecServer returns the converters that encode and decode at a codec server. The
// texts of errors are encoded too: they name connections.
func overCodecServer(c config.Codec, namespace string) (converter.DataConverter, converter.FailureConverter) {
	codec := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{
		Endpoint: c.Endpoint,
		ModifyRequest: func(r *http.Request) error {
			r.Header.Set("X-Namespace", namespace)
			if auth := c.Auth.Reveal(); auth != "" {
				r.Header.Set("Authorization", auth)
			}
			return nil
		},
		Client: http.Client{Timeout: codecTimeout, Transport: newCodecTransport()},
	})
	// A call may take longer than the SDK's deadlock detector waits for a workflow.
	data := workflow.DataConverterWithoutDeadlockDetection(converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec))
	return data, temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: data, EncodeCommonAttributes: true})
}

// codecTransport turns every answer but 200 into an error: the SDK's codec would read
// its body without a bound and repeat it in its own error.
type codecTransport struct{ over http.RoundTripper }

func newCodecTransport() codecTransport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = codecConnections
	return codecTransport{t}
}

// RoundTrip implements http.RoundTripper.
func (t codecTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	reply, err := t.over.RoundTrip(r)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "the codec server does not answer: %w", err)
	}
	if reply.StatusCode == http.StatusOK {
		reply.Body = http.MaxBytesReader(nil, reply.Body, maxCodecReply)
		return reply, nil
	}
	_, _ = io.CopyN(io.Discard, reply.Body, 4096) // lets the transport reuse the network connection
	_ = reply.Body.Close()
	switch code := reply.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return nil, perennial.Errorf(perennial.CodeUnavailable, "the codec server answers with HTTP status %d", code)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return nil, perennial.Errorf(perennial.CodeInvalid, "the codec server refuses us with HTTP status %d: check temporal_codec_auth_env or temporal_codec_auth_file", code)
	default:
		return nil, perennial.Errorf(perennial.CodeInvalid, "the codec server answers with HTTP status %d: it takes no such payload, or temporal_codec_endpoint does not name it", code)
	}
}

// calmFailures is a failure converter that returns a failure where another one panics:
// the default one does while a codec does not answer, and that would end the process.
type calmFailures struct{ converter.FailureConverter }

// withoutPanic returns over, or the SDK's default if it is nil, without its panics.
func withoutPanic(over converter.FailureConverter) converter.FailureConverter {
	if over == nil {
		over = temporal.GetDefaultFailureConverter()
	}
	return calmFailures{over}
}

// ErrorToFailure implements converter.FailureConverter.
func (c calmFailures) ErrorToFailure(err error) (f *failurepb.Failure) {
	defer func() {
		if cause := recover(); cause != nil {
			f = unencoded(err)
		}
	}()
	return c.FailureConverter.ErrorToFailure(err)
}

// unencoded says that there was an error, and nothing that a codec should hide. A
// cancellation remains one: a workflow must see it.
func unencoded(err error) *failurepb.Failure {
	f := &failurepb.Failure{Message: "an error that could not be encoded, because the payload codec does not work"}
	if temporal.IsCanceledError(err) {
		f.FailureInfo = &failurepb.Failure_CanceledFailureInfo{CanceledFailureInfo: &failurepb.CanceledFailureInfo{Details: &commonpb.Payloads{}}}
		return f
	}
	f.FailureInfo = &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: string(perennial.CodeUnavailable)}}
	return f
}

// WithSerializationContext implements converter.FailureConverterWithSerializationContext.
func (c calmFailures) WithSerializationContext(ctx converter.SerializationContext) converter.FailureConverter {
	if over, ok := c.FailureConverter.(converter.FailureConverterWithSerializationContext); ok {
		return calmFailures{over.WithSerializationContext(ctx)}
	}
	return c
}
