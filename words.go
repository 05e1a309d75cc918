package perennial

import "github.com/perennial-oauth/perennial/client/words"

// Product code sees these words too. Package words, of the client's small module,
// defines them, so that a product need not take the engine's dependencies.
type (
	Code                 = words.Code
	Error                = words.Error
	GenerationAheadError = words.GenerationAheadError
	Secret               = words.Secret
	Status               = words.Status
	Health               = words.Health
	Reason               = words.Reason
	StatusText           = words.StatusText
	ConnectMode          = words.ConnectMode
	ConnectOutcome       = words.ConnectOutcome
	Revocation           = words.Revocation
	Fault                = words.Fault
	RefusalCause         = words.RefusalCause
)

// The constants of those types.
const (
	CodeInvalid             = words.CodeInvalid
	CodeNotFound            = words.CodeNotFound
	CodeConflict            = words.CodeConflict
	CodeAccountMismatch     = words.CodeAccountMismatch
	CodeReconnectRequired   = words.CodeReconnectRequired
	CodeOtherUser           = words.CodeOtherUser
	CodePaused              = words.CodePaused
	CodeDisconnected        = words.CodeDisconnected
	CodeGenerationAhead     = words.CodeGenerationAhead
	CodeUnavailable         = words.CodeUnavailable
	CodeSealed              = words.CodeSealed
	CodeSchema              = words.CodeSchema
	CodeInternal            = words.CodeInternal
	TokenTypeBearer         = words.TokenTypeBearer
	StatusActive            = words.StatusActive
	StatusReconnectRequired = words.StatusReconnectRequired
	StatusPaused            = words.StatusPaused
	StatusDisconnected      = words.StatusDisconnected
	HealthHealthy           = words.HealthHealthy
	HealthFailing           = words.HealthFailing
	ReasonNone              = words.ReasonNone
	ReasonInvalidGrant      = words.ReasonInvalidGrant
	ReasonRotationLost      = words.ReasonRotationLost
	ReasonNoRefreshToken    = words.ReasonNoRefreshToken
	ReasonGrantEnded        = words.ReasonGrantEnded
	ReasonIdleExpired       = words.ReasonIdleExpired
	ReasonSignInRequired    = words.ReasonSignInRequired
	ReasonGrantReplaced     = words.ReasonGrantReplaced
	ReasonCredentials       = words.ReasonCredentials
	ReasonScopesMissing     = words.ReasonScopesMissing
	ReasonOperator          = words.ReasonOperator
	ConnectPage             = words.ConnectPage
	ConnectPopup            = words.ConnectPopup
	ConnectConnected        = words.ConnectConnected
	ConnectDenied           = words.ConnectDenied
	ConnectProviderDown     = words.ConnectProviderDown
	ConnectMisconfigured    = words.ConnectMisconfigured
	ConnectCodeRefused      = words.ConnectCodeRefused
	ConnectMixedUp          = words.ConnectMixedUp
	ConnectAccountUnknown   = words.ConnectAccountUnknown
	ConnectAccountMismatch  = words.ConnectAccountMismatch
	ConnectChooseAccount    = words.ConnectChooseAccount
	ConnectNotChosen        = words.ConnectNotChosen
	ConnectScopesMissing    = words.ConnectScopesMissing
	ConnectNoRefreshToken   = words.ConnectNoRefreshToken
	ConnectGone             = words.ConnectGone
	ConnectUnfinished       = words.ConnectUnfinished
	ConnectAwaitingFinish   = words.ConnectAwaitingFinish
	ConnectNotFinished      = words.ConnectNotFinished
	RevocationDone          = words.RevocationDone
	RevocationFailed        = words.RevocationFailed
	RevocationUnsupported   = words.RevocationUnsupported
	RevocationNone          = words.RevocationNone
	FaultGrant              = words.FaultGrant
	FaultClient             = words.FaultClient
	FaultRequest            = words.FaultRequest
	FaultNobody             = words.FaultNobody
	RefusalTokenRefused     = words.RefusalTokenRefused
	RefusalRevoked          = words.RefusalRevoked
)

// The lists of those constants.
var (
	Statuses        = words.Statuses
	Healths         = words.Healths
	Reasons         = words.Reasons
	ConnectOutcomes = words.ConnectOutcomes
	Faults          = words.Faults
	RefusalCauses   = words.RefusalCauses
)

// NewSecret is [words.NewSecret].
func NewSecret(value string) Secret { return words.NewSecret(value) }

// Errorf is [words.Errorf].
func Errorf(code Code, format string, args ...any) *Error { return words.Errorf(code, format, args...) }

// CodeOf is [words.CodeOf].
func CodeOf(err error) Code { return words.CodeOf(err) }

// Describe is [words.Describe].
func Describe(status Status, health Health, reason Reason, title string) StatusText {
	return words.Describe(status, health, reason, title)
}

// DescribeFailing is [words.DescribeFailing].
func DescribeFailing(code, title string) StatusText { return words.DescribeFailing(code, title) }

// DescribeMissing is [words.DescribeMissing].
func DescribeMissing(title string) StatusText { return words.DescribeMissing(title) }

// KnownCodes is [words.KnownCodes].
func KnownCodes() map[string]Fault { return words.KnownCodes() }

// FaultOf is [words.FaultOf].
func FaultOf(code string) Fault { return words.FaultOf(code) }

// DescribeConnect is [words.DescribeConnect].
func DescribeConnect(o ConnectOutcome, title string) StatusText {
	return words.DescribeConnect(o, title)
}

// CheckRefusal is [words.CheckRefusal].
func CheckRefusal(generation int64, why RefusalCause) error {
	return words.CheckRefusal(generation, why)
}

// Outlook is [words.Outlook].
func Outlook(s Status) string { return words.Outlook(s) }
