// Command longcopies lists every hand-written copy of a field between two struct types of
// the project, deletes some of them, one at a time, and reports whether a test or the
// compiler noticed.
//
//	longcopies [-seed N] [-n N] [-list] [-only FILE:LINE] [-again FILE] [-quick] DIRECTORY
//
// Nothing in the directory is changed: the deletions are overlays of the build.
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/go/packages"
)

// found is one copy: the bytes to delete, and what they are.
type found struct {
	pkg, file  string
	line       int
	start, end int // offsets of what a deletion removes
	text       string

	statement            bool   // an assignment, not a member of a literal
	switchable           bool   // a switch can stand around it
	field                string // the field as an expression, if its type is not the value's
	valueStart, valueEnd int    // offsets of the text inside the switch
}

// id tells a copy from all others.
func (f found) id() string { return fmt.Sprintf("%s:%d", f.file, f.start) }

func (f found) String() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.text) }

// alsoTests has other packages whose tests check a package too.
var alsoTests = map[string][]string{
	"client":          {"./wiring/direct", "./api"},
	"client/remote":   {"./api", "./test/e2e -run TestHostForEachAccount"},
	"client/wire":     {"./client/...", "./api", "./wiring/direct"},
	"api":             {"./test/e2e -run TestHostForEachAccount"},
	"connect":         {"./web/connectui", "./test/e2e -run TestHostForEachAccount"},
	"internal/db":     {"./store"},
	"internal/outbox": {"./store", "./notify"},
	"provider":        {"./refresh", "./web/connectui"},
	"refresh":         {"./store -run TestModel", "./test/e2e -run TestHostForEachAccount"},
	"wiring":          {"./test/e2e -run TestLife"},
	"wiring/direct":   {"./test/e2e -run TestHostForEachAccount"},
}

// nested is the folder of the module inside the main one whose packages are looked at
// too. Its path begins with the main one's.
const nested = "client"

// modules returns the folders of the modules, the nested one first.
func modules(dir string) []string {
	if _, err := os.Stat(filepath.Join(dir, nested, "go.mod")); err != nil {
		return []string{"."}
	}
	return []string{nested, "."}
}

// compiler is what noticed a deletion that does not build.
const compiler = "the compiler"

// testTimeout bounds one run of a package's tests.
const testTimeout = 6 * time.Minute

func main() {
	seed := flag.Uint64("seed", 1, "of the draw")
	n := flag.Int("n", 60, "how many are drawn, 0 for all")
	list := flag.Bool("list", false, "list all copies and end")
	only := flag.String("only", "", "FILE:LINE of the copies to delete, instead of a draw")
	again := flag.String("again", "", "the output of an earlier run: judge what it calls unnoticed, instead of a draw")
	quick := flag.Bool("quick", false, "run the tests that look at whole values only")
	flag.Parse()
	if err := run(flag.Arg(0), *seed, *n, *list, *only, *again, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "longcopies:", err)
		os.Exit(1)
	}
}

func run(dir string, seed uint64, n int, list bool, only, again string, quick bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	all, err := copies(dir)
	if err != nil {
		return err
	}
	fmt.Printf("%d hand-written copies of a field\n", len(all))
	if list {
		for _, c := range all {
			fmt.Println(c)
		}
		return nil
	}
	drawn := slices.Clone(all)
	if only != "" {
		drawn = slices.DeleteFunc(drawn, func(c found) bool { return fmt.Sprintf("%s:%d", c.file, c.line) != only })
	} else if again != "" {
		earlier, err := os.ReadFile(again)
		if err != nil {
			return err
		}
		drawn = slices.DeleteFunc(drawn, func(c found) bool { return !strings.Contains(string(earlier), " "+c.String()+": UNNOTICED\n") })
	} else {
		random := rand.New(rand.NewPCG(seed, 0))
		random.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
		if n > 0 {
			drawn = drawn[:min(n, len(drawn))]
		}
		fmt.Printf("seed %d, %d drawn\n", seed, len(drawn))
	}
	t, err := newTrial(dir, all, quick)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(t.folder) }() // a leftover of ours costs nothing
	unnoticed, unjudged := 0, 0
	for i, c := range drawn {
		by, err := t.judge(c)
		switch {
		case err != nil:
			unjudged++
			by = "NOT JUDGED: " + err.Error()
		case by == "":
			unnoticed++
			by = "UNNOTICED"
		}
		fmt.Printf("%d %s: %s\n", i+1, c, by)
	}
	fmt.Printf("%d of %d noticed, %d not judged\n", len(drawn)-unnoticed-unjudged, len(drawn), unjudged)
	if unnoticed+unjudged > 0 {
		return errors.New("not every deletion was noticed")
	}
	return nil
}

// copies finds the copies in all packages but the suites under test/, the examples, and
// the packages that are for tests.
func copies(dir string) ([]found, error) {
	files := token.NewFileSet()
	var loaded []*packages.Package
	for _, module := range modules(dir) {
		some, err := packages.Load(&packages.Config{Dir: filepath.Join(dir, module), Fset: files,
			Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps | packages.NeedModule}, "./...")
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, some...)
	}
	root := ""
	if len(loaded) > 0 { // the main module's are the last
		root = loaded[len(loaded)-1].Module.Path
	}
	var out []found
	for _, p := range loaded {
		for _, e := range p.Errors {
			return nil, e
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, root), "/")
		if strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "examples/") || p.Imports["testing"] != nil {
			continue
		}
		f := finder{p: p, files: files, module: root, dir: dir, pkg: name}
		for _, file := range p.Syntax {
			ast.Inspect(file, f.visit)
		}
		out = append(out, f.out...)
	}
	slices.SortFunc(out, func(a, b found) int {
		return strings.Compare(fmt.Sprintf("%s %08d %s", a.file, a.start, a.text), fmt.Sprintf("%s %08d %s", b.file, b.start, b.text))
	})
	return out, nil
}

type finder struct {
	p                *packages.Package
	files            *token.FileSet
	module, dir, pkg string
	out              []found
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CompositeLit:
		into := f.structOf(f.p.TypesInfo.TypeOf(n))
		if into == "" {
			return true
		}
		for i, e := range n.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok || !f.copied(kv.Value, into) {
				continue
			}
			start, end := kv.Pos(), kv.End()
			switch {
			case i+1 < len(n.Elts):
				end = n.Elts[i+1].Pos()
			case i > 0:
				start = n.Elts[i-1].End()
			}
			f.add(kv, f.member(n, kv), start, end, kv.Value)
		}
	case *ast.AssignStmt:
		if n.Tok != token.ASSIGN || len(n.Lhs) != 1 || len(n.Rhs) != 1 {
			return true
		}
		to, ok := n.Lhs[0].(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if into := f.structOf(f.p.TypesInfo.TypeOf(to.X)); into != "" && f.copied(n.Rhs[0], into) {
			f.add(n, found{text: types.ExprString(to) + " = " + types.ExprString(n.Rhs[0]), statement: true, switchable: true}, n.Pos(), n.End(), n)
		}
	}
	return true
}

// structOf returns the name of t if that is a struct of the project, else "".
func (f *finder) structOf(t types.Type) string {
	if t == nil {
		return ""
	}
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil || !strings.HasPrefix(named.Obj().Pkg().Path(), f.module) {
		return ""
	}
	if _, ok := named.Underlying().(*types.Struct); !ok {
		return ""
	}
	return named.Obj().Pkg().Path() + "." + named.Obj().Name()
}

// copied reports whether a value is a field of another struct of the project, perhaps
// converted by one call.
func (f *finder) copied(e ast.Expr, into string) bool {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.CallExpr:
			switch {
			case len(x.Args) == 1:
				e = x.Args[0]
			case len(x.Args) == 0:
				s, ok := x.Fun.(*ast.SelectorExpr)
				if !ok {
					return false
				}
				e = s.X
			default:
				return false
			}
		case *ast.SelectorExpr:
			field, ok := f.p.TypesInfo.Selections[x]
			if !ok || field.Kind() != types.FieldVal {
				return false
			}
			from := f.structOf(f.p.TypesInfo.TypeOf(x.X))
			return from != "" && from != into
		default:
			return false
		}
	}
}

// member returns the copy that a member of a literal is. Around a value whose type differs
// from its field's, as that of an interface, a switch needs the name of the literal's type.
func (f *finder) member(literal *ast.CompositeLit, kv *ast.KeyValueExpr) found {
	c := found{text: types.ExprString(kv.Key) + ": " + types.ExprString(kv.Value), switchable: f.sameType(kv)}
	if !c.switchable && literal.Type != nil {
		c.switchable, c.field = true, fmt.Sprintf("(%s{}).%s", types.ExprString(literal.Type), types.ExprString(kv.Key))
	}
	return c
}

// sameType reports whether a member of a literal has the type of its value, so that what
// returns the value's type can stand there.
func (f *finder) sameType(kv *ast.KeyValueExpr) bool {
	key, ok := kv.Key.(*ast.Ident)
	if !ok {
		return false
	}
	field, value := f.p.TypesInfo.ObjectOf(key), f.p.TypesInfo.TypeOf(kv.Value)
	return field != nil && value != nil && types.Identical(field.Type(), value)
}

// add notes a copy at a node; a deletion removes the text between start and end, a switch
// stands around value.
func (f *finder) add(at ast.Node, c found, start, end token.Pos, value ast.Node) {
	p := f.files.Position(at.Pos())
	name, err := filepath.Rel(f.dir, p.Filename)
	if err != nil || strings.HasPrefix(name, "..") {
		return
	}
	offset := func(p token.Pos) int { return f.files.Position(p).Offset }
	c.pkg, c.file, c.line = f.pkg, name, p.Line
	c.start, c.end = offset(start), offset(end)
	c.valueStart, c.valueEnd = offset(value.Pos()), offset(value.End())
	f.out = append(f.out, c)
}

// noticed deletes a copy in an overlay and names the first check that fails, "" for none: the compiler
// and, unless onlyCompiler, the tests.
func noticed(dir string, c found, onlyCompiler bool) (string, error) {
	path := filepath.Join(dir, c.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp("", "longcopies-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a leftover of ours costs nothing
	o := newOverlay(folder)
	o.add(path, string(source[:c.start])+string(source[c.end:]))
	if err := o.write(); err != nil {
		return "", err
	}
	if onlyCompiler {
		return seenBy(dir, o.path, []string{"./" + c.pkg, "-run", "^$"})
	}
	for _, tests := range append([]string{"./" + c.pkg}, alsoTests[c.pkg]...) {
		by, err := seenBy(dir, o.path, strings.Fields(tests))
		if by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// seenBy runs tests on an overlay and says what noticed it, "" for nothing. Only what fails
// twice with the overlay and passes without it has noticed: a test that fails anyway, or by
// chance, says nothing about a copy.
func seenBy(dir, overlay string, tests []string) (string, error) {
	out, err := goTest(dir, overlay, tests)
	if err == nil || out == "" {
		return "", err
	}
	by := why(out)
	again := tests
	if by == compiler {
		again = []string{tests[0], "-run", "^$"}
	} else if test, _, ok := strings.Cut(by, " "); ok && strings.Contains(out, "--- FAIL: "+by) {
		again = []string{tests[0], "-run", "^" + test + "$"}
	}
	if without, err := goTest(dir, "", again); err != nil {
		return "", fmt.Errorf("go test %s fails without the deletion too: %w\n%s", strings.Join(again, " "), err, without)
	}
	if out, err := goTest(dir, overlay, again); err == nil || out == "" {
		return "", err
	}
	return by, nil
}

// goTest returns what failing tests say; without output the tests could not be run.
func goTest(dir, overlay string, tests []string) (string, error) {
	args := []string{"test", "-count=1", "-failfast", "-timeout", testTimeout.String()}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	for _, module := range modules(dir) { // the tests of a module run in its folder
		if rest, ok := strings.CutPrefix(tests[0]+"/", "./"+module+"/"); ok {
			dir = filepath.Join(dir, module)
			tests = append([]string{"./" + strings.TrimSuffix(rest, "/")}, tests[1:]...)
			break
		}
	}
	cmd := exec.Command("go", append(args, tests...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return string(out), err
}

// why names the first test that failed, or the compiler.
func why(out string) string {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return strings.TrimSpace(name)
		}
	}
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]") {
		return compiler
	}
	return "a failing run: " + out[:min(len(out), 200)]
}
