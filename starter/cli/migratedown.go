package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"golang.org/x/term"
)

// migrateDown reverts the newest migration after a person has confirmed what that
// deletes.
func (s *shell) migrateDown(ctx context.Context, d *db.DB, yes bool) error {
	m, err := d.NewestMigration(ctx)
	if err != nil {
		return err
	}
	lost := "nothing that is stored"
	if len(m.Loses) > 0 {
		lost = strings.Join(m.Loses, "; ")
	}
	fmt.Fprintf(s.errOut, "Reverting migration %d (%s) deletes: %s. Programs that need it stop being ready.\n", m.Version, m.Name, lost)
	if !yes {
		if err := s.confirm(); err != nil {
			return err
		}
	}
	if err := d.MigrateDown(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Migration %d was reverted.\n", m.Version)
	return nil
}

// confirm waits for a yes. Without a terminal it refuses.
func (s *shell) confirm() error {
	if !s.isTerminal(s.in) {
		return perennial.Errorf(perennial.CodeInvalid, "cannot ask for a confirmation without a terminal: give --yes to confirm")
	}
	fmt.Fprint(s.errOut, "Type yes to go on: ")
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

// isTerminal reports whether in is a terminal.
func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
