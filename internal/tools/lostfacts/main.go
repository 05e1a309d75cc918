// Command lostfacts lists what a rewriting of comments and documents may have lost: every
// number, RFC, URL and identifier that stood in one at the commit BASE and stands nowhere
// in the tree of the commit HEAD.
//
//	lostfacts [-renamed FILE] BASE [HEAD]
//
// FILE has a line "old new" for each identifier that got another name; it is lost only if
// the new name is nowhere either.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func main() {
	renamed := flag.String("renamed", "", "file of renamed identifiers")
	flag.Parse()
	head := "HEAD"
	if flag.NArg() > 1 {
		head = flag.Arg(1)
	}
	if err := run(flag.Arg(0), head, *renamed); err != nil {
		fmt.Fprintln(os.Stderr, "lostfacts:", err)
		os.Exit(1)
	}
}

func run(base, head, renamed string) error {
	names := map[string]string{}
	if renamed != "" {
		raw, err := os.ReadFile(renamed)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(raw)) {
			if words := strings.Fields(line); len(words) == 2 {
				names[words[0]] = words[1]
			}
		}
	}
	before, err := tree(base)
	if err != nil {
		return err
	}
	after, err := tree(head)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, text := range after {
		for _, f := range facts(text) {
			there[f] = true
		}
	}
	lost := map[string]string{}
	for _, name := range slices.Sorted(keys(before)) {
		for _, f := range facts(prose(name, before[name])) {
			if !there[f] && !there[names[f]] && lost[f] == "" {
				lost[f] = name
			}
		}
	}
	for _, f := range slices.Sorted(keys(lost)) {
		fmt.Printf("%s\t%s\n", f, lost[f])
	}
	return nil
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// tree reads the text files of a commit.
func tree(commit string) (map[string]string, error) {
	raw, err := exec.Command("git", "archive", "--format=tar", commit).Output()
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", commit, err)
	}
	out := map[string]string{}
	archive := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && !bytes.ContainsRune(content, 0) {
			out[h.Name] = string(content)
		}
	}
}

// prose returns the comments of a program, or the whole of a document.
func prose(name, text string) string {
	mark := "#"
	switch path.Ext(name) {
	case ".md":
		return text
	case ".go":
		mark = "//"
	case ".sql":
		mark = "--"
	case ".yaml", ".yml", ".sh":
	default:
		return ""
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if i := strings.Index(line, mark); i >= 0 && !strings.HasSuffix(line[:i], ":") {
			out.WriteString(line[i+len(mark):])
		}
	}
	return out.String()
}

// A fact is a URL, a number with the word after it, or a name that prose does not have:
// with a capital or an underscore inside, or with parts that dots join.
var fact = regexp.MustCompile(`https?://[^\s)"'>\]]+|\d[\d,.:/]*\d|\d|\b[A-Za-z]+[_A-Z.][A-Za-z0-9_.]*[A-Za-z0-9]\b`)

func facts(text string) []string {
	all := fact.FindAllString(text, -1)
	for i, f := range all {
		all[i] = strings.TrimRight(f, ".,:")
	}
	return all
}
