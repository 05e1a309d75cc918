package accesstest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the module's folder.
const root = "../.."

// sources calls do for each Go file of the program, without tests, without the file that
// defines what an access is, and without the client, whose server decides.
func sources(t *testing.T, do func(name string, file *ast.File, set *token.FileSet)) (files int) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || rel == "access.go" || strings.HasPrefix(rel, "test/") || strings.HasPrefix(rel, "client/") || strings.HasPrefix(rel, "examples/") || strings.HasPrefix(rel, "internal/connecttest/") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		files++
		do(rel, file, set)
		return nil
	})
	require.NoError(t, err)
	return files
}

// TestNoEmptyTenant: nothing compares a tenant to the empty string, or asks for its
// length. Whether a tenant is named, perennial.CheckTenant says; an access to all of them
// is one that says so.
func TestNoEmptyTenant(t *testing.T) {
	files := sources(t, func(name string, file *ast.File, set *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			for _, pair := range compared(n) {
				if isTenant(pair[0]) && isNothing(pair[1]) || isTenant(pair[1]) && isNothing(pair[0]) {
					t.Errorf("%s:%d compares a tenant to nothing: call perennial.CheckTenant", name, set.Position(n.Pos()).Line)
				}
			}
			return true
		})
	})
	assert.Greater(t, files, 300, "it reads the program")
}

// compared returns the pairs of expressions that a node compares.
func compared(n ast.Node) (pairs [][2]ast.Expr) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ || n.Op == token.GTR || n.Op == token.LSS {
			pairs = append(pairs, [2]ast.Expr{n.X, n.Y})
		}
	case *ast.SwitchStmt:
		for _, s := range n.Body.List {
			for _, e := range s.(*ast.CaseClause).List {
				if n.Tag != nil {
					pairs = append(pairs, [2]ast.Expr{n.Tag, e})
				}
			}
		}
	}
	return pairs
}

// isTenant reports whether an expression is a tenant by its name, or the length of one.
func isTenant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return isTenant(e.X)
	case *ast.Ident:
		return namesTenant(e.Name)
	case *ast.SelectorExpr:
		return namesTenant(e.Sel.Name)
	case *ast.CallExpr:
		f, ok := e.Fun.(*ast.Ident)
		return ok && f.Name == "len" && len(e.Args) == 1 && isTenant(e.Args[0])
	}
	return false
}

func namesTenant(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(strings.ToLower(name), "id"), "tenant")
}

func isNothing(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && (l.Value == `""` || l.Value == "``" || l.Value == "0")
}

// edges has the interfaces through which the API reaches what tenants have, with the
// methods that reach nothing of any tenant.
var edges = map[string][]string{"Store": {"AppIncidents"}, "Connections": nil, "Disconnects": nil, "Webhooks": nil, "Sessions": nil}

// TestEdgesTakeAccess: each method through which the API reaches what a tenant has takes
// the access right after its context, and none takes a tenant.
func TestEdgesTakeAccess(t *testing.T) {
	seen := map[string]bool{}
	sources(t, func(name string, file *ast.File, _ *token.FileSet) {
		if filepath.Dir(name) != "api" {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			edge, isInterface := spec.Type.(*ast.InterfaceType)
			without, known := edges[spec.Name.Name]
			if !isInterface || !known {
				return true
			}
			seen[spec.Name.Name] = true
			for _, method := range edge.Methods.List {
				requireAccess(t, spec.Name.Name, method, without)
			}
			return true
		})
	})
	assert.Len(t, seen, len(edges))
}

func requireAccess(t *testing.T, edge string, method *ast.Field, without []string) {
	called := method.Names[0].Name
	for _, name := range without {
		if name == called {
			return
		}
	}
	parameters := method.Type.(*ast.FuncType).Params.List
	if assert.GreaterOrEqual(t, len(parameters), 2, "%s.%s", edge, called) {
		typ, ok := parameters[1].Type.(*ast.SelectorExpr)
		assert.True(t, ok && typ.Sel.Name == "Access", "%s.%s takes an access after its context", edge, called)
	}
	for _, p := range parameters {
		for _, name := range p.Names {
			assert.False(t, namesTenant(name.Name), "%s.%s takes a bare tenant", edge, called)
		}
	}
}
