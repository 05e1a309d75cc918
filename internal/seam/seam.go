// Package seam names the places in a refresh where a fault hurts, and the
// protections that keep it from hurting. In a program built without the tag
// "faults" every function here does nothing and is compiled away; with it, a
// test's controller decides at each place what happens there.
package seam

// Seam is a place in a refresh.
type Seam string

// The seams, in their order.
const (
	BeforeClaim  Seam = "before_claim"
	AfterClaim   Seam = "after_claim"
	AfterMark    Seam = "after_mark"    // the `sending` mark is written; reuse_revokes only
	AfterWrite   Seam = "after_write"   // the request was written
	AfterReply   Seam = "after_reply"   // the reply was read
	BeforeCommit Seam = "before_commit" // of the save
	AfterCommit  Seam = "after_commit"  // before the activity completes
)

// Seams lists them in their order.
var Seams = []Seam{BeforeClaim, AfterClaim, AfterMark, AfterWrite, AfterReply, BeforeCommit, AfterCommit}

// Protection is one that can be switched off, alone, to see what it is there for.
type Protection string

// The protections.
const (
	ClaimBeforeSpend Protection = "claim_before_spend" // the claim writes the open attempt before the token is shown
	DigestGuard      Protection = "digest_guard"       // a save names the refresh token that it replaces
	Spool            Protection = "spool"              // unsaved tokens are kept beside the store
	Journal          Protection = "journal"            // unsaved tokens are kept in the workflow
	Fence            Protection = "fence"              // a live open attempt keeps others away
	AmbiguityMemory  Protection = "ambiguity_memory"   // a token that may have been spent is remembered as such
	Confirm          Protection = "confirm"            // a first refusal is not believed
	Circuit          Protection = "circuit"            // an app in trouble is probed, not stormed
	RefusalHold      Protection = "hold_terminal"      // a spike of refusals disconnects nobody
	WithoutCancel    Protection = "without_cancel"     // nothing is aborted after sending
)

// Protections lists them.
var Protections = []Protection{ClaimBeforeSpend, DigestGuard, Spool, Journal, Fence, AmbiguityMemory, Confirm, Circuit, RefusalHold, WithoutCancel}

// The variables that a worker built with the tag reads.
const (
	ControlVariable = "PERENNIAL_TEST_FAULTS_CONTROL" // URL of the controller
	WorkerVariable  = "PERENNIAL_TEST_FAULTS_WORKER"  // this worker's name
	OffVariable     = "PERENNIAL_TEST_FAULTS_OFF"     // protections, separated by commas
	ClockVariable   = "PERENNIAL_TEST_FAULTS_CLOCK"   // by how much the wall clock is wrong
)

// Hit is what the controller is told.
type Hit struct {
	Worker     string `json:"worker"`
	Seam       Seam   `json:"seam"`
	Connection string `json:"connection"`
}
