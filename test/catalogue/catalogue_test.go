package catalogue

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCatalogue: a connection of each provider lives as its sources promise.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	for _, name := range consents() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := lookup(name)
			require.NoError(t, err)
			for _, found := range run(t, database, k, k.entry, scenariosOf(k.entry)) {
				assert.Fail(t, found)
			}
		})
	}
}

// consents lists the entries whose grant is a consent; TestCredentialGrants has the others.
func consents() []string {
	return slices.DeleteFunc(provider.Names(), func(name string) bool {
		e, _ := provider.Lookup(name)
		return e.Grant.FromCredentials()
	})
}

// run lets a Perennial that knows a provider by an entry live with the provider that the
// sources describe. It returns what goes wrong.
func run(t *testing.T, database []byte, pristine known, e provider.Entry, all []scenario) (found []string) {
	file := filepath.Join(t.TempDir(), "perennial.db")
	require.NoError(t, os.WriteFile(file, database, 0o600))
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, file, pristine, e)
		defer w.close()
		for _, s := range all {
			if problem := try(w, s); problem != "" {
				found = append(found, problem)
			}
		}
	})
	return found
}
