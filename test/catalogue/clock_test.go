package catalogue

import (
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/glebarez/go-sqlite"
)

// The store asks SQLite for the time by strftime. In this program that is a function of
// ours, which reads the clock of the goroutine that makes the query: the bubble's.
func init() {
	sqlite.MustRegisterScalarFunction("strftime", -1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return strftime(args)
	})
}

// strftime is SQLite's function, for the formats and modifiers of package store.
func strftime(args []driver.Value) (driver.Value, error) {
	layouts := map[string]string{"%Y-%m-%dT%H:%M:%fZ": "2006-01-02T15:04:05.000Z", "%Y-%m-%d %H:%M:%f": "2006-01-02 15:04:05.000"}
	layout, known := layouts[fmt.Sprint(args[0])]
	if !known {
		return nil, fmt.Errorf("no such format: %v", args[0])
	}
	if args[1] == nil {
		return nil, nil
	}
	at, err := instant(fmt.Sprint(args[1]))
	if err != nil {
		return nil, err
	}
	for _, modifier := range args[2:] {
		number, seconds := strings.CutSuffix(fmt.Sprint(modifier), " seconds")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !seconds {
			return nil, fmt.Errorf("no such modifier: %v", modifier)
		}
		at = at.Add(time.Duration(n * float64(time.Second)))
	}
	return at.UTC().Format(layout), nil
}

func instant(text string) (time.Time, error) {
	if text == "now" {
		return time.Now(), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999999Z07:00", time.RFC3339Nano, time.DateTime} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("no time: %s", text)
}
