package perennial

// MaxGeneration is the highest generation of a connection: the largest whole number
// that every JSON reader keeps exactly.
const MaxGeneration = 1<<53 - 1

// MaxGenerationGap bounds how many generations a row can be behind the numbers given
// out. A number further above the row's is a mistake and is ignored.
const MaxGenerationGap = 10_000

// restartGeneration follows a row at or above [MaxGeneration], which only a program
// from before this bound could write. It is above every number that honest refreshes
// reach.
const restartGeneration = 1 << 40

// Behind reports whether the database lost generations up to floor, a number that was
// given out: floor is above the row's generation, by at most [MaxGenerationGap].
func (c Connection) Behind(floor int64) bool {
	ahead := floor - max(c.Generation, 0)
	return floor > 0 && ahead > 0 && ahead <= MaxGenerationGap && floor < MaxGeneration
}

// NextGeneration returns the number of the next stored token set. It is above the row's
// and above every number given out before the database went backwards. Only after a row
// at or above [MaxGeneration] is it lower: then the numbering starts again.
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
// of a token set that replaces generation old. It ignores the floor: see
// [Connection.CheckNext].
func CheckGeneration(id string, old, next int64) error {
	restarts := old >= MaxGeneration && next == restartGeneration
	if next < 1 || next > MaxGeneration || next <= old && !restarts {
		return Errorf(CodeInvalid, "generation %d of connection %s cannot follow %d", next, id, old)
	}
	return nil
}

// CheckNext returns an error of [CodeInvalid] unless next may be the generation after
// the row's: see [CheckGeneration] and [MaxGenerationGap].
func (c Connection) CheckNext(next int64) error {
	if err := CheckGeneration(c.ID, c.Generation, next); err != nil {
		return err
	}
	if c.Generation < MaxGeneration && next-max(c.Generation, 0) > MaxGenerationGap+1 {
		return Errorf(CodeInvalid, "generation %d of connection %s is too far above the row's %d", next, c.ID, c.Generation)
	}
	return nil
}
