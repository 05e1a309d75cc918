package perennial

import "fmt"

// MaxGeneration is the highest generation of a connection: the largest whole number
// that every JSON reader keeps exactly.
const MaxGeneration = 1<<53 - 1

// MaxGenerationGap is the most generations that a row can be behind the numbers that
// were given out. A number further above the row's is a mistake and is not used.
const MaxGenerationGap = 10_000

// restartGeneration follows a row at or above [MaxGeneration], which a program before
// this bound could write. It is above every number that honest refreshes reach.
const restartGeneration = 1 << 40

// Behind reports whether the database lost generations up to floor, a number that was
// given out: floor is above the row's generation, by at most [MaxGenerationGap].
func (c Connection) Behind(floor int64) bool {
	ahead := floor - max(c.Generation, 0)
	return floor > 0 && ahead > 0 && ahead <= MaxGenerationGap && floor < MaxGeneration
}

// NextGeneration is the number of the next stored token set. It is above the row's
// and above every one that was given out before the database went backwards. Only
// for a row at or above [MaxGeneration] it is lower: its numbering starts again.
func (c Connection) NextGeneration() int64 {
	switch {
	case c.Generation >= MaxGeneration:
		return restartGeneration
	case c.Behind(c.GenerationFloor):
		return c.GenerationFloor + 1
	default:
		return max(c.Generation, 0) + 1
	}
}

// CheckGeneration returns an error of [CodeInvalid] unless next may be the generation
// of a token set that replaces generation old. It knows no floor: see [Connection.Takes].
func CheckGeneration(id string, old, next int64) error {
	restarts := old >= MaxGeneration && next == restartGeneration
	if next < 1 || next > MaxGeneration || next <= old && !restarts {
		return Errorf(CodeInvalid, "generation %d of connection %s cannot follow %d", next, id, old)
	}
	return nil
}

// Takes returns an error of [CodeInvalid] unless next may be the generation that
// follows the row's: see [CheckGeneration] and [MaxGenerationGap].
func (c Connection) CheckNext(next int64) error {
	if err := CheckGeneration(c.ID, c.Generation, next); err != nil {
		return err
	}
	if c.Generation < MaxGeneration && next-max(c.Generation, 0) > MaxGenerationGap+1 {
		return Errorf(CodeInvalid, "generation %d of connection %s is too far above the row's %d", next, c.ID, c.Generation)
	}
	return nil
}

// GenerationAheadError says that a caller named a generation above the row's. Nothing
// was refreshed. After a restore of the database an honest caller meets it: it must
// forget its token and that token's generation, and read the connection again.
type GenerationAheadError struct {
	Connection string
	Generation int64 // the row's
}

// Error implements error.
func (e *GenerationAheadError) Error() string {
	return fmt.Sprintf("connection %s is at generation %d, and the generation that was asked for is above it: forget that token and get the current one", e.Connection, e.Generation)
}

// Unwrap gives the error its [Code].
func (e *GenerationAheadError) Unwrap() error {
	return &Error{Code: CodeGenerationAhead, Message: e.Error()}
}
