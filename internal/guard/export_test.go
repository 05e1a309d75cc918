package guard

// MaxAddresses are counted one by one.
const MaxAddresses = maxAddresses

// Len is how many addresses are counted one by one.
func (f *Failures) Len() int { return len(f.of) }
