package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/perennial-oauth/perennial"
)

// errNoAnswer means that it is unknown whether the record was written. The job sends it
// again, under the same key.
var errNoAnswer = errors.New("the provider gave no usable answer")

// syncer writes the records of a folder to one account.
type syncer struct {
	api *http.Client
	url string
	out io.Writer
}

// The tries of one record that gets no answer, and the pause between them.
const (
	tries = 3
	pause = time.Second
)

// run writes the folder's records in the order of their names. It stops at the first
// record that it cannot write; that record and the later ones stay.
func (s *syncer) run(ctx context.Context, folder string) error {
	records, err := os.ReadDir(folder) // sorted by name
	if err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	for _, r := range records {
		path := filepath.Join(folder, r.Name())
		body, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a record: %w", err)
		}
		if err := s.write(ctx, r.Name(), body); err != nil {
			return fmt.Errorf("record %s: %w", r.Name(), err)
		}
		// After a crash before this line, the next run sends the record once more: the
		// key makes that harmless.
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("record %s is written, but stays: %w", r.Name(), err)
		}
		fmt.Fprintf(s.out, "%s written\n", r.Name())
	}
	return nil
}

// write sends one record until there is an answer.
func (s *syncer) write(ctx context.Context, key string, body []byte) error {
	for try := 1; ; try++ {
		err := s.send(ctx, key, body)
		if !errors.Is(err, errNoAnswer) || try == tries {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *syncer) send(ctx context.Context, key string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key) // also allows the client to send it again after a 401
	resp, err := s.api.Do(req)
	if err != nil {
		if _, ok := errors.AsType[*perennial.Error](err); ok {
			return err // from the client: it had no token and sent nothing
		}
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // lets the transport reuse the network connection
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return fmt.Errorf("%w: HTTP status %d", errNoAnswer, resp.StatusCode)
	}
	return fmt.Errorf("the provider refuses it: HTTP status %d", resp.StatusCode)
}
