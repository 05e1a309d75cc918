package codepage

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const file = "../../docs/codes.md"

// TestGoldenPage: docs/codes.md is what the code says.
func TestGoldenPage(t *testing.T) {
	t.Parallel()
	if os.Getenv("PERENNIAL_UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(file, []byte(Page()), 0o644))
		return
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, Page(), string(got), "run `make pages`")
}

// TestEveryCode: each code of a list has its line, and no line is of a code that is gone.
func TestEveryCode(t *testing.T) {
	t.Parallel()
	assert.ElementsMatch(t, texts(perennial.Reasons), codesOf(reasons))
	assert.ElementsMatch(t, texts(perennial.ConnectOutcomes), codesOf(consents))
	assert.ElementsMatch(t, texts(perennial.EventTypes), codesOf(events))
	assert.ElementsMatch(t, texts(perennial.Outcomes), codesOf(outcomes))
	var sent []string
	for c := range api.ProblemStatuses() {
		sent = append(sent, string(c))
	}
	assert.ElementsMatch(t, sent, codesOf(problems))
	assert.Len(t, exits, program.ExitUnavailable+1)
	for n := range program.ExitUnavailable + 1 {
		assert.NotEmpty(t, exits[n])
	}
	for _, lines := range [][]line{problems, reasons, failing, consents, events} {
		for _, l := range lines {
			assert.NotEmpty(t, l.means, l.code)
			assert.NotEmpty(t, l.do, l.code)
		}
	}
}

// TestEveryFailingCode: each constant of the packages that make failing codes, and each
// literal that they set as one, has its line.
func TestEveryFailingCode(t *testing.T) {
	t.Parallel()
	made := map[string]string{}
	for _, folder := range []string{"refresh", "store", "provider", "workflows", "wiring", "client"} {
		for _, f := range sources(t, "../../"+folder) {
			for c := range failingIn(f) {
				made[c] = folder
			}
		}
	}
	require.Greater(t, len(made), 30)
	for c, folder := range made {
		assert.True(t, slices.Contains(codesOf(failing), c) || perennial.KnownCodes()[c] != "", "%s of package %s has no line", c, folder)
	}
}

func sources(t *testing.T, folder string) (out []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

var (
	codeName = regexp.MustCompile(`^[cC]ode[A-Z]`)
	codeForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// failingIn returns the values of constants named code... or Code..., and the literals
// in a member Code of a reply or a result, in a return of transportCode, and in a call of problem.
func failingIn(f *ast.File) map[string]bool {
	found := map[string]bool{}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && codeForm.MatchString(s) {
				found[s] = true
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if codeName.MatchString(name.Name) && n.Type == nil && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.CompositeLit:
			name, _ := n.Type.(*ast.SelectorExpr)
			own, _ := n.Type.(*ast.Ident)
			if name != nil && (name.Sel.Name == "Reply" || name.Sel.Name == "RefreshResult") || own != nil && own.Name == "Reply" {
				for _, member := range n.Elts {
					if kv, ok := member.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "Code" {
						add(kv.Value)
					}
				}
			}
		case *ast.FuncDecl:
			if n.Name.Name == "transportCode" {
				ast.Inspect(n.Body, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok {
						add(r.Results[0])
					}
					return true
				})
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "problem" || name.Name == "codeOr") && len(n.Args) > 0 && f.Name.Name != "wiring" {
				add(n.Args[0])
			}
		}
		return true
	})
	return found
}

func codesOf(lines []line) (out []string) {
	for _, l := range lines {
		out = append(out, l.code)
	}
	return out
}

func texts[T ~string](of []T) (out []string) {
	for _, one := range of {
		out = append(out, string(one))
	}
	return out
}
