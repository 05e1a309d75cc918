package strictyaml

import (
	"regexp"
	"strconv"
)

// PlainName is the form of keys and names.
var PlainName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,40}$`)

// Shown quotes a name if it looks like one. Anything else may be a secret in the wrong
// place.
func Shown(name string) string {
	if PlainName.MatchString(name) {
		return strconv.Quote(name)
	}
	return "(not shown)"
}

// DidYouMean suggests the nearest of known, "" if none is near.
func DidYouMean(name string, known []string) string {
	best, least := "", min(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
