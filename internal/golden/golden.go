// Package golden compares what a program stores or sends with files that an earlier
// version of it wrote. A change of such a file is a change for every database, history
// and client that is in use.
package golden

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// updateVariable is the environment variable that writes the files instead of
// comparing.
const updateVariable = "PERENNIAL_UPDATE_GOLDEN"

// JSON compares v, as JSON, with testdata/golden/NAME.json of the package under test.
// The order of an object's members does not count.
func JSON(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	var plain any
	require.NoError(t, json.Unmarshal(raw, &plain))
	raw, err = json.MarshalIndent(plain, "", "  ")
	require.NoError(t, err)
	Text(t, name+".json", string(raw)+"\n")
}

// Columns compares the columns of each table, as [Tags] returns them, with
// testdata/golden/columns.json of the package under test. Package schema has the tables.
func Columns(t *testing.T, tables map[string][]string) {
	t.Helper()
	for _, columns := range tables {
		slices.Sort(columns)
	}
	JSON(t, "columns", tables)
}

// Tags returns the columns that gorm reads and writes of each row type, by table.
func Tags(rows ...interface{ TableName() string }) map[string][]string {
	tables := map[string][]string{}
	for _, r := range rows {
		row := reflect.TypeOf(r)
		for i := range row.NumField() {
			for part := range strings.SplitSeq(row.Field(i).Tag.Get("gorm"), ";") {
				if name, ok := strings.CutPrefix(part, "column:"); ok {
					tables[r.TableName()] = append(tables[r.TableName()], name)
				}
			}
		}
	}
	return tables
}

// Text compares text with the file testdata/golden/NAME of the package under test.
func Text(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if os.Getenv(updateVariable) != "" {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "write it with %s=1", updateVariable)
	if line, differ := firstDifference(string(want), text); differ {
		t.Errorf("what is stored or sent has changed: %s. If that is meant, write the file with %s=1 and say in the changelog who has to do what", line, updateVariable)
	}
}

// firstDifference names the first line in which two texts differ.
func firstDifference(want, got string) (string, bool) {
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wants), len(gots)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(end)"
		}
		if line(wants) != line(gots) || i >= len(wants) || i >= len(gots) {
			return fmt.Sprintf("line %d was %q and is %q", i+1, line(wants), line(gots)), true
		}
	}
	return "", false
}
