package dev

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// emulator implements the part of a terminal that dev uses: it shows what a person
// sees.
type emulator struct {
	width, height int
	lines         [][]rune // a wide character's second cell is 0
	row, column   int
	scrolled      int // lines that scrolled off the top
}

func newEmulator(width, height int) *emulator {
	return &emulator{width: width, height: height, lines: make([][]rune, height)}
}

// Write implements [io.Writer].
func (e *emulator) Write(b []byte) (int, error) {
	text := string(b)
	for text != "" {
		var n int
		switch {
		case strings.HasPrefix(text, "\x1b[J"):
			e.lines[e.row] = e.lines[e.row][:min(e.column, len(e.lines[e.row]))]
			for i := e.row + 1; i < e.height; i++ {
				e.lines[i] = nil
			}
			text = text[3:]
			continue
		case strings.HasPrefix(text, "\x1b["):
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err != nil {
				return 0, fmt.Errorf("the emulator does not know %q", text[:5])
			}
			e.row = max(0, e.row-n)
			text = text[strings.IndexByte(text, 'A')+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			e.column = 0
		case '\n':
			e.down()
		default:
			e.put(r)
		}
	}
	return len(b), nil
}

func (e *emulator) put(r rune) {
	if e.column+runeCells(r) > e.width {
		e.down()
	}
	line := e.lines[e.row]
	for len(line) <= e.column {
		line = append(line, ' ')
	}
	line[e.column] = r
	if runeCells(r) == 2 {
		line = append(line[:e.column+1], 0)
	}
	e.lines[e.row] = line
	e.column += runeCells(r)
}

func (e *emulator) down() {
	e.column = 0
	if e.row++; e.row == e.height {
		e.lines, e.row = append(e.lines[1:], nil), e.height-1
		e.scrolled++
	}
}

// shown returns the screen without the empty lines at its end.
func (e *emulator) shown() string {
	var b strings.Builder
	for _, line := range e.lines {
		b.WriteString(strings.TrimRight(strings.ReplaceAll(string(line), "\x00", ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

var (
	steady  = row{"portal-101", "hubspot", "Connected", "", "41 s", "12", "refreshed"}
	revoked = row{"portal-666", "hubspot", "Reconnect needed", "access was removed in HubSpot", "-3 s", "3", "revoked invalid_grant"}
	failing = row{"realm-9130", "quickbooks", "Connected", "QuickBooks has not answered our latest renewals; we keep trying", "7 s", "104", "unavailable"}
	wide    = row{"株式会社アクメ", "acme", "Reconnect needed", "access was removed in アクメ", "60 s", "1", "connected"}
)

func TestTable(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{
		160: `
ACCOUNT         APP         STATUS                                                                      LEFT  GEN  LAST OUTCOME
portal-101      hubspot     Connected                                                                   41 s  12   refreshed
portal-666      hubspot     Reconnect needed: access was removed in HubSpot                             -3 s  3    revoked invalid_grant
realm-9130      quickbooks  Connected: QuickBooks has not answered our latest renewals; we keep trying  7 s   104  unavailable
株式会社アクメ  acme        Reconnect needed: access was removed in アクメ                              60 s  1    connected
`,
		120: `
ACCOUNT         APP         STATUS                                                      LEFT  GEN  LAST OUTCOME
portal-101      hubspot     Connected                                                   41 s  12   refreshed
portal-666      hubspot     Reconnect needed: access was removed in HubSpot             -3 s  3    revoked invalid_grant
realm-9130      quickbooks  Connected: QuickBooks has not answered our latest renewal…  7 s   104  unavailable
株式会社アクメ  acme        Reconnect needed: access was removed in アクメ              60 s  1    connected
`,
		80: `
ACCOUNT         APP         STATUS            LEFT  GEN  LAST OUTCOME
portal-101      hubspot     Connected         41 s  12   refreshed
portal-666      hubspot     Reconnect needed  -3 s  3    revoked invalid_grant
realm-9130      quickbooks  Connected         7 s   104  unavailable
株式会社アクメ  acme        Reconnect needed  60 s  1    connected
`,
		60: `
ACCOUNT         STATUS            LEFT  GEN  LAST OUTCOME
portal-101      Connected         41 s  12   refreshed
portal-666      Reconnect needed  -3 s  3    revoked invali…
realm-9130      Connected         7 s   104  unavailable
株式会社アクメ  Reconnect needed  60 s  1    connected
`,
		40: `
ACCOUNT         STATUS            LEFT
portal-101      Connected         41 s
portal-666      Reconnect needed  -3 s
realm-9130      Connected         7 s
株式会社アクメ  Reconnect needed  60 s
`,
		32: `
ACCOUNT         STATUS
portal-101      Connected
portal-666      Reconnect needed
realm-9130      Connected
株式会社アクメ  Reconnect needed
`,
		20: `
STATUS
Connected
Reconnect needed
Connected
Reconnect needed
`,
		10: `
STATUS
Connected
Reconnect…
Connected
Reconnect…
`,
	} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			lines := table([]row{steady, revoked, failing, wide}, width)
			assert.Equal(t, want, "\n"+strings.Join(lines, "\n")+"\n")
			for _, l := range lines {
				assert.LessOrEqual(t, cells(l), width, l)
			}
		})
	}
}

// TestScreen draws fewer rows each time, below lines that stay: nothing of an earlier
// drawing remains visible.
func TestScreen(t *testing.T) {
	t.Parallel()
	link := "Be the user within 45s: http://127.0.0.1:8000/connect/cl_0123456789012345678901234567890123456789012"
	for width, want := range map[int]string{
		120: `
Ready.
Be the user within 45s: http://127.0.0.1:8000/connect/cl_0123456789012345678901234567890123456789012

Done.

ACCOUNT     APP      STATUS     LEFT  GEN  LAST OUTCOME
portal-101  hubspot  Connected  41 s  12   refreshed
`,
		80: `
Ready.
Be the user within 45s: http://127.0.0.1:8000/connect/cl_01234567890123456789012
34567890123456789012

Done.

ACCOUNT     APP      STATUS     LEFT  GEN  LAST OUTCOME
portal-101  hubspot  Connected  41 s  12   refreshed
`,
		60: `
Ready.
Be the user within 45s: http://127.0.0.1:8000/connect/cl_012
3456789012345678901234567890123456789012

Done.

ACCOUNT     APP      STATUS     LEFT  GEN  LAST OUTCOME
portal-101  hubspot  Connected  41 s  12   refreshed
`,
	} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			t.Parallel()
			e := newEmulator(width, 30)
			s := screen{out: e, size: func() (int, int) { return e.width, e.height }}
			fmt.Fprint(e, "Ready.\n")
			rows := []row{steady, revoked, failing, wide}
			s.draw(nil, append(table(rows, width), wrap("portal-666: the refusal was confirmed; the user must reconnect, and so on.", width)...))
			s.draw([]string{link}, table(rows[:3], width))
			s.draw(nil, table(rows[:2], width))
			s.draw([]string{"Done."}, table(rows[:1], width))
			assert.Equal(t, want, "\n"+e.shown())
		})
	}
}

// TestScreenOfOtherSize: a terminal that became narrower has wrapped the lines of the
// last drawing; one with too few rows shows the first ones.
func TestScreenOfOtherSize(t *testing.T) {
	t.Parallel()
	e := newEmulator(60, 6)
	s := screen{out: e, size: func() (int, int) { return 60, 6 }}
	s.draw(nil, []string{strings.Repeat("a", 50), "b", "", "d"})
	assert.Equal(t, 4, s.rows(60))
	assert.Equal(t, 6, s.rows(20))
	s.draw(nil, []string{"1", "2", "3", "4", "5", "6", "7"})
	s.draw(nil, []string{"1", "2", "3", "4", "5", "6", "7"})
	assert.Equal(t, "1\n2\n3\n4\n5\n", e.shown())
	assert.Zero(t, e.scrolled, "nothing leaves at the top with each drawing")
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, nil},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two three", 13, []string{"one two three"}},
		{"a 株式会社 b", 6, []string{"a", "株式会", "社 b"}},
		{"at http://127.0.0.1:8000", 8, []string{"at", "http://1", "27.0.0.1", ":8000"}},
		{"\x1b[2J\u0085bell\a", 20, []string{"?[2J?bell?"}},
		{"é́é", 2, []string{"é́é"}},
	} {
		lines := wrap(c.text, c.width)
		assert.Equal(t, c.want, lines)
		for _, l := range lines {
			assert.LessOrEqual(t, cells(l), c.width)
		}
	}
}
