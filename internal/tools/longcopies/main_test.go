package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCopies: of four copies between two structs, tests notice two that they look at, the
// compiler one that leaves a variable unused, and nobody the fourth.
func TestCopies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.org/m\n\ngo 1.26\n",
		"a.go": `package m

type From struct {
	A, B, C int
	D       *int
}

type To struct {
	A, B, C int
	D       any
}

func Copy(f From) To {
	c := f
	return To{A: f.A,
		B: f.B,
		C: c.C,
		D: f.D}
}
`,
		"a_test.go": `package m

import "testing"

func TestA(t *testing.T) {
	if Copy(From{A: 1}).A != 1 {
		t.Fatal("A is lost")
	}
}

func TestD(t *testing.T) {
	if Copy(From{}).D == nil {
		t.Fatal("D is lost, with the type in it")
	}
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := copies(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"TestA (0.00s)", "", "the compiler", "TestD (0.00s)"}
	if len(all) != len(want) {
		t.Fatalf("%v", all)
	}
	tried, err := newTrial(dir, all, false)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tried.folder)
	for i, c := range all {
		if !c.switchable {
			t.Errorf("%s has no switch", c)
		}
		bySwitch, err := tried.judge(c)
		if err != nil {
			t.Fatal(err)
		}
		byDeletion, err := noticed(dir, c, false)
		if err != nil {
			t.Fatal(err)
		}
		if bySwitch != want[i] || byDeletion != want[i] {
			t.Errorf("%s: %q by switch, %q by deletion, not %q", c, bySwitch, byDeletion, want[i])
		}
	}
}

// TestFailsAnyway: a test that fails without the deletion too, or by chance, has noticed nothing.
func TestFailsAnyway(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		wrong bool
	}{
		"always":    {`t.Fatal("always")`, true},
		"by chance": {`if f, err := os.OpenFile("ran", os.O_CREATE|os.O_EXCL, 0o600); err == nil { f.Close(); t.Fatal("once") }`, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"go.mod":    "module example.org/m\n\ngo 1.26\n",
				"a.go":      "package m\n\ntype From struct{ A int }\n\ntype To struct{ A int }\n\nfunc Copy(f From) To { return To{A: f.A} }\n",
				"a_test.go": "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.O_CREATE\n\nfunc TestA(t *testing.T) { " + test.body + " }\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			all, err := copies(dir)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			if by, err := noticed(dir, all[0], false); by != "" || (err != nil) != test.wrong {
				t.Errorf("noticed by %q, %v", by, err)
			}
			_ = os.Remove(filepath.Join(dir, "ran"))
			tried, err := newTrial(dir, all, false)
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(tried.folder)
			if by, err := tried.judge(all[0]); by != "" || (err != nil) != test.wrong {
				t.Errorf("by switch noticed by %q, %v", by, err)
			}
		})
	}
}
