package neighbours

// every returns all cells with neighbours.
func every() (cells []cell) {
	for _, s := range sizes {
		for _, k := range kinds {
			for _, o := range onsets {
				for _, of := range []tenants{one, several} {
					cells = append(cells, cell{s, k, o, of, own}, cell{s, k, o, of, pooled})
				}
			}
		}
	}
	return cells
}

// values returns the values of a cell's parameters. Their types tell them apart.
func (c cell) values() []any { return []any{c.size, c.kind, c.onset, c.tenants, c.pace} }

func (c cell) pairs() (pairs [][2]any) {
	values := c.values()
	for i, a := range values {
		for _, b := range values[i+1:] {
			pairs = append(pairs, [2]any{a, b})
		}
	}
	return pairs
}

// pairwise returns some of the cells that have every pair of values that all of them
// have: again and again the first of those with the most pairs that are missing.
func pairwise(cells []cell) (chosen []cell) {
	missing := map[[2]any]bool{}
	for _, c := range cells {
		for _, p := range c.pairs() {
			missing[p] = true
		}
	}
	for len(missing) > 0 {
		most, next := 0, cell{}
		for _, c := range cells {
			n := 0
			for _, p := range c.pairs() {
				if missing[p] {
					n++
				}
			}
			if n > most {
				most, next = n, c
			}
		}
		for _, p := range next.pairs() {
			delete(missing, p)
		}
		chosen = append(chosen, next)
	}
	return chosen
}
