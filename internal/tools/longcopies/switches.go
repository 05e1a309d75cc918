package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// offVariable is the environment variable that names the copy that is off.
const offVariable = "LONGCOPIES_OFF"

// switchFile is added to each package that has copies. %s is the package's name.
const switchFile = `package %s

import "os"

var longcopiesOff = os.Getenv("` + offVariable + `")

func longcopiesOn(copy string) bool { return copy != longcopiesOff }

func longcopiesPick[T any](copy string, v T) (zero T) {
	if longcopiesOn(copy) {
		return v
	}
	return zero
}

func longcopiesPickAs[T any](_ T) func(string, T) T { return longcopiesPick[T] }
`

// trial is the project built once with a switch at each copy, so that a deletion costs a
// run of tests and no build.
type trial struct {
	dir, folder, overlay string
	quick                bool                // only the tests that look at whole values
	folders              map[string][]string // of packages, by pattern
	binaries             map[string]string   // of tests, by folder
}

// newTrial puts the switches in. The caller removes its folder.
func newTrial(dir string, all []found, quick bool) (*trial, error) {
	folder, err := os.MkdirTemp("", "longcopies-")
	if err != nil {
		return nil, err
	}
	o := newOverlay(folder)
	t := &trial{dir: dir, folder: folder, overlay: o.path, quick: quick, folders: map[string][]string{}, binaries: map[string]string{}}
	for file, copies := range byFile(all) {
		path := filepath.Join(dir, file)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		in, err := parser.ParseFile(token.NewFileSet(), path, source, parser.PackageClauseOnly)
		if err != nil {
			return nil, err
		}
		o.add(path, withSwitches(string(source), copies))
		o.add(filepath.Join(filepath.Dir(path), "longcopies_switches.go"), fmt.Sprintf(switchFile, in.Name.Name))
	}
	return t, o.write()
}

// overlay is files that a build reads instead of those of the directory.
type overlay struct {
	folder, path string
	text         map[string]string // by the file that it stands for
}

// newOverlay returns an empty overlay that is kept in a folder.
func newOverlay(folder string) overlay {
	return overlay{folder: folder, path: filepath.Join(folder, "overlay.json"), text: map[string]string{}}
}

func (o overlay) add(file, text string) { o.text[file] = text }

func (o overlay) write() error {
	replace := map[string]string{}
	for file, text := range o.text {
		replace[file] = filepath.Join(o.folder, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(replace[file], []byte(text), 0o600); err != nil {
			return err
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(o.path, list, 0o600)
}

func byFile(all []found) map[string][]found {
	files := map[string][]found{}
	for _, c := range all {
		if c.switchable {
			files[c.file] = append(files[c.file], c)
		}
	}
	return files
}

// withSwitches puts a switch around each copy of a file, from the last to the first.
func withSwitches(source string, copies []found) string {
	slices.SortFunc(copies, func(a, b found) int { return b.valueStart - a.valueStart })
	for _, c := range copies {
		open, end := fmt.Sprintf("longcopiesPick(%q, ", c.id()), ")"
		if c.field != "" {
			open = fmt.Sprintf("longcopiesPickAs(%s)(%q, ", c.field, c.id())
		}
		if c.statement {
			open, end = fmt.Sprintf("if longcopiesOn(%q) { ", c.id()), " }"
		}
		source = source[:c.valueStart] + open + source[c.valueStart:c.valueEnd] + end + source[c.valueEnd:]
	}
	return source
}

// judge names the first check that notices a missing copy, "" for none. It turns the copy
// off by its switch first. It deletes a copy for real if that has no switch, or if only the
// compiler would notice. A quick trial uses the switch alone.
func (t *trial) judge(c found) (string, error) {
	if c.switchable {
		if by, err := t.noticed(c); by != "" || err != nil {
			return by, err
		}
	}
	if t.quick {
		return "", nil
	}
	return noticed(t.dir, c, c.switchable)
}

// noticed names the first test that fails while a copy is off, "" for none: first the tests that look
// at whole values, which are fast, then all.
func (t *trial) noticed(c found) (string, error) {
	packages := append([]string{"./" + c.pkg}, alsoTests[c.pkg]...)
	for _, quick := range []bool{true, false} {
		if t.quick && !quick {
			break
		}
		for _, tests := range packages {
			by, err := t.seenBy(c, strings.Fields(tests), quick)
			if by != "" || err != nil {
				return by, err
			}
		}
	}
	return "", nil
}

// seenBy runs a package's tests while a copy is off. See the function seenBy for what
// counts as noticed.
func (t *trial) seenBy(c found, tests []string, quick bool) (string, error) {
	folders, err := t.foldersOf(tests[0])
	if err != nil {
		return "", err
	}
	for _, folder := range folders {
		which := "."
		if len(tests) == 3 { // -run NAME
			which = tests[2]
		}
		if quick {
			if which, err = wholeValueTests(folder); err != nil || which == "" {
				continue
			}
		}
		out, err := t.run(folder, which, c.id())
		if err == nil {
			continue
		}
		if out == "" {
			return "", err
		}
		by := why(out)
		again := which
		if test, _, ok := strings.Cut(by, " "); ok && strings.Contains(out, "--- FAIL: "+by) {
			again = "^" + test + "$"
		}
		if without, err := t.run(folder, again, ""); err != nil {
			return "", fmt.Errorf("%s of %s fails without the deletion too: %w\n%s", again, folder, err, without)
		}
		if _, err := t.run(folder, again, c.id()); err != nil {
			return by, nil
		}
	}
	return "", nil
}

// run runs a package's tests with a copy off, "" for none, and returns their output.
func (t *trial) run(folder, which, off string) (string, error) {
	binary, err := t.binaryOf(folder)
	if err != nil || binary == "" {
		return "", err
	}
	cmd := exec.Command(binary, "-test.run", which, "-test.failfast", "-test.timeout", testTimeout.String(), "-test.paniconexit0")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), offVariable+"="+off, "GOFLAGS=-overlay="+t.overlay)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return string(out), err
}

// binaryOf builds a package's tests once, with the switches in; "" for a package without tests.
func (t *trial) binaryOf(folder string) (string, error) {
	if binary, ok := t.binaries[folder]; ok {
		return binary, nil
	}
	binary := filepath.Join(t.folder, strconv.Itoa(len(t.binaries))+".test")
	cmd := exec.Command("go", "test", "-c", "-overlay", t.overlay, "-o", binary, ".")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s with switches: %w\n%s", folder, err, out)
	}
	if _, err := os.Stat(binary); errors.Is(err, os.ErrNotExist) {
		binary = ""
	}
	t.binaries[folder] = binary
	return binary, nil
}

// foldersOf returns the folders of a pattern's packages.
func (t *trial) foldersOf(pattern string) ([]string, error) {
	if folders, ok := t.folders[pattern]; ok {
		return folders, nil
	}
	dir, in := t.dir, pattern
	for _, module := range modules(t.dir) {
		if rest, ok := strings.CutPrefix(pattern+"/", "./"+module+"/"); ok {
			dir, in = filepath.Join(t.dir, module), "./"+strings.TrimSuffix(rest, "/")
			break
		}
	}
	cmd := exec.Command("go", "list", "-f", "{{.Dir}}", in)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages of %s: %w", pattern, err)
	}
	t.folders[pattern] = strings.Fields(string(out))
	return t.folders[pattern], nil
}

// wholeValueTests returns a pattern of the package's tests that fill a whole value or
// compare one with a golden file, "" for none.
func wholeValueTests(folder string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		return "", err
	}
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return "", err
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" && usesWholeValues(f.Body) {
				names = append(names, regexp.QuoteMeta(f.Name.Name))
			}
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}

// usesWholeValues reports whether code calls package fill or golden.
func usesWholeValues(body ast.Node) (uses bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && (x.Name == "fill" || x.Name == "golden") {
				uses = true
			}
		}
		return !uses
	})
	return uses
}
