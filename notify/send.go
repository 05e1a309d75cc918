package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/perennial-oauth/perennial/internal/retryafter"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// errPrivate is the refusal of an address.
var errPrivate = netguard.ErrNotPublic

const (
	sendTimeout = 15 * time.Second // for one try, from the lookup to the end of the reply
	replyRead   = 4 << 10          // bytes of a reply's body that are read and discarded
	headersRead = 32 << 10
	dialTimeout = 5 * time.Second
	idlePerHost = 4
	userAgent   = "Perennial-Webhooks/1"
	contentType = "application/json"
)

// sender posts messages. It is safe for concurrent use.
type sender struct{ http *http.Client }

func newSender(a Addresses, timeout time.Duration) *sender {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: a.Control}
	return &sender{&http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial past the check
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    dialTimeout,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: headersRead,
			MaxIdleConnsPerHost:    idlePerHost,
			IdleConnTimeout:        time.Minute,
		},
		// A redirect may lead anywhere, and its target was not registered.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// message is one message: the same bytes at every try, except for the time.
type message struct {
	id      string
	body    []byte
	at      time.Time
	secrets []perennial.Secret // each of them signs; a receiver accepts if it knows one
}

// reply is the result of sending a message.
type reply struct {
	status int           // the HTTP status; 0: no reply
	after  time.Duration // how long the receiver wants a pause; 0: it does not say
}

// send posts m once. The error is in our own words: it has neither the URL nor any part
// of the reply in it.
func (s *sender) send(ctx context.Context, to string, m message) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(m.body))
	if err != nil {
		return reply{}, errors.New("the endpoint's URL is not usable")
	}
	signatures, err := sign(m)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(m.at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	resp, err := s.http.Do(req)
	if err != nil {
		return reply{}, errors.New(plain(err))
	}
	defer resp.Body.Close()
	// Reading a short body to its end keeps the connection usable. Its content stays
	// unknown.
	_, _ = io.CopyN(io.Discard, resp.Body, replyRead)
	r := reply{status: resp.StatusCode, after: retryafter.Read(resp.Header, m.at)}
	switch {
	case r.status >= 200 && r.status < 300:
		return r, nil
	case r.status >= 300 && r.status < 400:
		return r, fmt.Errorf("the endpoint redirects (HTTP %d), which is not followed: register where it leads", r.status)
	default:
		return r, fmt.Errorf("the endpoint replied HTTP %d", r.status)
	}
}

// sign returns the header webhook-signature: one signature for each secret.
func sign(m message) (string, error) {
	var all []string
	for _, secret := range m.secrets {
		w, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			return "", errors.New("the endpoint's secret is not base64") // err would show part of it
		}
		one, err := w.Sign(m.id, m.at, m.body)
		if err != nil {
			return "", errors.New("the message cannot be signed")
		}
		all = append(all, one)
	}
	return strings.Join(all, " "), nil
}

// plain names the cause of a failed request in fixed words: an error of the transport
// may repeat the URL, or bytes of the reply.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return "the endpoint did not reply in time"
		}
		err = u.Err
	}
	_, dns := errors.AsType[*net.DNSError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	switch {
	case errors.Is(err, errPrivate):
		return errPrivate.Error()
	case dns:
		return "the endpoint's name does not resolve"
	case certificate:
		return "the endpoint's certificate is not valid"
	case record, alert:
		return "the endpoint does not speak TLS as it should"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the endpoint refuses connections"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "the endpoint did not reply in time"
	default:
		return "the connection to the endpoint failed"
	}
}
