package wiring

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Customize receives the options that the configuration gives for a Temporal client,
// and returns those to dial with. A platform team sets its own data converter, failure
// converter, interceptors, credentials, TLS or headers there. Interceptors that are
// also worker interceptors apply to the worker too. Every program that shares a
// namespace and task queue needs the same data converter.
type Customize func(ctx context.Context, o client.Options) (client.Options, error)

// Dial connects to Temporal as configured by TEMPORAL_*, Temporal's own configuration
// file, the settings temporal_codec_*, and then customize, in order. It fails if no
// server answers, or if the payload codec does not. While a codec does not answer, the
// client's CheckHealth fails too.
func Dial(ctx context.Context, cfg *config.Config, environ []string, log *slog.Logger, customize ...Customize) (client.Client, error) {
	options, err := ClientOptions(ctx, cfg, environ, customize...)
	if err != nil {
		return nil, err
	}
	if options.DataConverter != nil {
		if err := codecAnswers(ctx, options.DataConverter); err != nil {
			return nil, err
		}
		options.ConnectionOptions.DialOptions = append(slices.Clip(options.ConnectionOptions.DialOptions),
			grpc.WithChainUnaryInterceptor(healthWithCodec(options.DataConverter)))
	}
	if options.DataConverter == nil {
		if namesCodec(environ) {
			log.Warn("nothing that Temporal stores is encoded: the codec endpoint of Temporal's own configuration (TEMPORAL_CODEC_ENDPOINT) is for its tools; set temporal_codec_endpoint in perennial.yaml")
		}
		options.DataConverter = converter.GetDefaultDataConverter()
	}
	options.DataConverter = workflows.Converter(options.DataConverter)
	options.FailureConverter = withoutPanic(options.FailureConverter)
	if options.Logger == nil {
		options.Logger = sdklog.NewStructuredLogger(log)
	}
	c, err := client.DialContext(ctx, options)
	if err != nil {
		address := cmp.Or(options.HostPort, client.DefaultHostPort)
		return nil, perennial.Errorf(perennial.CodeUnavailable, "no Temporal server answers at %s (set TEMPORAL_ADDRESS): %w", address, err)
	}
	return c, nil
}

// ClientOptions returns the options that [Dial] uses, before it adds its own checks.
func ClientOptions(ctx context.Context, cfg *config.Config, environ []string, customize ...Customize) (client.Options, error) {
	options, err := temporalOptions(environ)
	if err != nil {
		return options, err
	}
	if err := cfg.Codec.NeedAuth(); err != nil {
		return options, err
	}
	if cfg.Codec.Endpoint != "" {
		namespace := cmp.Or(options.Namespace, client.DefaultNamespace)
		options.DataConverter, options.FailureConverter = overCodecServer(cfg.Codec, namespace)
	}
	for _, change := range customize {
		if options, err = change(ctx, options); err != nil {
			return options, perennial.Errorf(perennial.CodeOf(err), "customize the Temporal client: %w", err)
		}
	}
	return options, nil
}

// Namespace returns the Temporal namespace that [Dial] uses.
func Namespace(ctx context.Context, cfg *config.Config, environ []string, customize ...Customize) (string, error) {
	options, err := ClientOptions(ctx, cfg, environ, customize...)
	return cmp.Or(options.Namespace, client.DefaultNamespace), err
}

func temporalOptions(environ []string) (client.Options, error) {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: lookup(environ)})
	if err != nil {
		return options, perennial.Errorf(perennial.CodeInvalid, "read the TEMPORAL_* settings: %w", err)
	}
	return options, nil
}

// namesCodec reports whether Temporal's own configuration names a codec server. The SDK
// does not use it unless asked; a worker on an older release would not understand what
// it encodes.
func namesCodec(environ []string) bool {
	p, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{EnvLookup: lookup(environ)})
	return err == nil && p.Codec != nil && p.Codec.Endpoint != ""
}

// codecAnswers checks the codec of a data converter, for as long as ctx lasts.
func codecAnswers(ctx context.Context, c converter.DataConverter) error {
	answer := make(chan error, 1)
	go func() { answer <- workflows.CheckConverter(c) }()
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	code := perennial.CodeOf(err)
	if unreachable.Is(err) {
		code = perennial.CodeUnavailable
	}
	return perennial.Errorf(code, "the payload codec does not work: %w", err)
}

// healthWithCodec makes a health check of Temporal fail while the codec does not answer:
// no request to a workflow would arrive then, so callers do what they do while Temporal
// is away.
func healthWithCodec(c converter.DataConverter) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, o...)
		if err != nil || method != healthpb.Health_Check_FullMethodName {
			return err
		}
		if err := codecAnswers(ctx, c); err != nil {
			return status.Error(codes.FailedPrecondition, err.Error()) // the SDK does not retry this code
		}
		return nil
	}
}

// environment looks variables up in the form of os.Environ.
type environment []string

func lookup(environ []string) environment { return environment(environ) }

// Environ implements envconfig.EnvLookup.
func (e environment) Environ() []string { return e }

// LookupEnv implements envconfig.EnvLookup.
func (e environment) LookupEnv(key string) (string, bool) {
	for i := len(e) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(e[i], "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}
