package perennial_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/require"
)

// TestImportsStandardLibraryOnly: a program that imports the root package or the words it
// shares with product code compiles no other dependency.
func TestImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "client/words"} {
		files := sources(t, dir, parser.ImportsOnly)
		require.NotEmpty(t, files)
		for name, file := range files {
			for _, spec := range file.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				require.NoError(t, err)
				require.True(t, standard(path) || dir == "." && path == "github.com/perennial-oauth/perennial/client/words", "%s imports %s", name, path)
			}
		}
	}
	require.False(t, standard("github.com/stretchr/testify/require"))
	require.False(t, standard("C"))
}

// standard reports whether path is in the standard library: the first element of any
// other path has a dot in it.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return path != "C" && !strings.Contains(first, ".")
}

// sources returns the parsed Go files of a folder, without tests, by name.
func sources(t *testing.T, dir string, mode parser.Mode) map[string]*ast.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]*ast.File{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, mode)
		require.NoError(t, err)
	}
	return files
}

// TestWordsAreTheSame: the root package has every word of package words, as the same
// thing.
func TestWordsAreTheSame(t *testing.T) {
	t.Parallel()
	exported := func(dir string) map[string]bool {
		names := map[string]bool{}
		for _, file := range sources(t, dir, parser.SkipObjectResolution) {
			for _, decl := range file.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					names[d.Name.Name] = d.Recv == nil && d.Name.IsExported()
				case *ast.GenDecl:
					for _, spec := range d.Specs {
						switch s := spec.(type) {
						case *ast.TypeSpec:
							names[s.Name.Name] = s.Name.IsExported()
						case *ast.ValueSpec:
							for _, name := range s.Names {
								names[name.Name] = name.IsExported()
							}
						}
					}
				}
			}
		}
		return names
	}
	here := exported(".")
	for name, is := range exported("client/words") {
		if is {
			require.True(t, here[name], "words.go lacks %s", name)
		}
	}
	require.Equal(t, words.Errorf(words.CodePaused, "x"), perennial.Errorf(perennial.CodePaused, "x"))
	require.Equal(t, words.NewSecret("x"), perennial.NewSecret("x"))
	require.Equal(t, words.CodeOf(words.Errorf(words.CodePaused, "x")), perennial.CodeOf(perennial.Errorf(perennial.CodePaused, "x")))
	for _, s := range perennial.Statuses {
		require.Equal(t, words.Outlook(s), perennial.Outlook(s))
		require.Equal(t, words.Describe(s, perennial.HealthFailing, perennial.ReasonOperator, "p"), perennial.Describe(s, perennial.HealthFailing, perennial.ReasonOperator, "p"))
	}
	require.Equal(t, words.DescribeFailing("invalid_client", "p"), perennial.DescribeFailing("invalid_client", "p"))
	require.Equal(t, words.FaultOf("invalid_client"), perennial.FaultOf("invalid_client"))
	require.Equal(t, words.DescribeConnect(words.ConnectDenied, "p"), perennial.DescribeConnect(perennial.ConnectDenied, "p"))
}
