package guard

// MaxAddresses is how many addresses have a count of their own.
const MaxAddresses = maxAddresses

// Len returns how many addresses have a count now.
func (f *Failures) Len() int { return len(f.of) }
