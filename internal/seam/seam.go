// Package seam names the places in a refresh where a fault does harm, and the
// protections against it. In a program built without the tag "faults" every function
// here does nothing and is compiled away. With the tag, a test's controller decides
// what happens at each place.
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
	BeforeCommit Seam = "before_commit" // before the save commits
	AfterCommit  Seam = "after_commit"  // before the activity completes
)

// Seams lists them in their order.
var Seams = []Seam{BeforeClaim, AfterClaim, AfterMark, AfterWrite, AfterReply, BeforeCommit, AfterCommit}

// Protection is a protection that a test can switch off alone, to see what it prevents.
type Protection string

// The protections.
const (
	ClaimBeforeSpend Protection = "claim_before_spend" // the claim writes the open attempt before the refresh token is presented
	DigestGuard      Protection = "digest_guard"       // a save names the refresh token that it replaces
	Spool            Protection = "spool"              // unsaved token sets are kept beside the store
	Journal          Protection = "journal"            // unsaved token sets are kept in the workflow
	Fence            Protection = "fence"              // a live open attempt blocks other processes
	AmbiguityMemory  Protection = "ambiguity_memory"   // the row remembers that its refresh token may have been spent
	Confirm          Protection = "confirm"            // one refusal alone is not believed
	Circuit          Protection = "circuit"            // an app in trouble gets single probes instead of every refresh
	RefusalHold      Protection = "hold_terminal"      // a spike of refusals disconnects nobody
	WithoutCancel    Protection = "without_cancel"     // no request is cancelled after it was sent
	Binding          Protection = "binding"            // a process over another database, or one that went backwards, presents nothing
	Watchdog         Protection = "watchdog"           // connections that Temporal neglects are refreshed beside it
	Cohorts          Protection = "cohorts"            // refused imports say nothing about connections that have worked
)

// Protections lists them.
var Protections = []Protection{ClaimBeforeSpend, DigestGuard, Spool, Journal, Fence, AmbiguityMemory, Confirm, Circuit, RefusalHold, WithoutCancel, Binding, Watchdog, Cohorts}

// The settings of a worker that was built with the tag.
const (
	ControlVariable = "PERENNIAL_TEST_FAULTS_CONTROL" // URL of the controller
	WorkerVariable  = "PERENNIAL_TEST_FAULTS_WORKER"  // this worker's name
	OffVariable     = "PERENNIAL_TEST_FAULTS_OFF"     // protections, separated by commas
	ClockVariable   = "PERENNIAL_TEST_FAULTS_CLOCK"   // how far the wall clock is wrong
)

// Hit is what a worker tells the controller.
type Hit struct {
	Worker     string `json:"worker"`
	Seam       Seam   `json:"seam"`
	Connection string `json:"connection"`
}
