package child

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Log is the file that receives a child's output. Earlier children may have written to
// it too.
type Log struct {
	*os.File
	begin int64 // where this child's output begins
}

// OpenLog opens the log at path, to append to it. Close it once the child has started;
// Tail still works afterwards.
func OpenLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // the first error is the one to report
		return nil, fmt.Errorf("open a log: %w", err)
	}
	return &Log{f, info.Size()}, nil
}

// maxTail is how many bytes of the last lines Tail returns.
const maxTail = 500

// Tail returns the log's path and the end of the child's output, to be added to an
// error.
func (l *Log) Tail() string {
	if l == nil {
		return ""
	}
	where := "; its output is in " + l.Name()
	f, err := os.Open(l.Name())
	if err != nil {
		return where
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= l.begin {
		return where
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, max(l.begin, info.Size()-maxTail), maxTail))
	last := strings.TrimSpace(string(raw))
	if err != nil || last == "" {
		return where
	}
	return where + " and ends with:\n" + last
}
