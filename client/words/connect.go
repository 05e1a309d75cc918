package words

import "strings"

// ConnectMode is how a connect page is shown.
type ConnectMode string

// The modes. A page sends the customer back to the product; a popup reports to the
// window that opened it, and closes.
const (
	ConnectPage  ConnectMode = "page"
	ConnectPopup ConnectMode = "popup"
)

// ConnectOutcome is the outcome of the last consent of a connect session; empty while
// none has ended.
type ConnectOutcome string

// The outcomes. After every outcome but connected, the link works again until it
// expires. After unfinished, the session goes on by itself; after choose_account it waits
// for the customer, after awaiting_finish for the product.
const (
	ConnectConnected       ConnectOutcome = "connected"
	ConnectDenied          ConnectOutcome = "access_denied"    // RFC 6749 section 4.1.2.1
	ConnectProviderDown    ConnectOutcome = "provider_down"    // the provider said so, or did not answer
	ConnectMisconfigured   ConnectOutcome = "misconfigured"    // our registration is wrong, never the user
	ConnectCodeRefused     ConnectOutcome = "code_refused"     // the code expired, or was used already
	ConnectMixedUp         ConnectOutcome = "mixed_up"         // another issuer answered (RFC 9207)
	ConnectAccountUnknown  ConnectOutcome = "account_unknown"  // the provider does not say which account the grant is for
	ConnectAccountMismatch ConnectOutcome = "account_mismatch" // a reconnect with another account
	ConnectChooseAccount   ConnectOutcome = "choose_account"   // the grant reaches several accounts, and waits, sealed, until the customer chooses one
	ConnectNotChosen       ConnectOutcome = "account_not_chosen"
	ConnectScopesMissing   ConnectOutcome = "scopes_missing"
	ConnectNoRefreshToken  ConnectOutcome = "no_refresh_token"
	ConnectGone            ConnectOutcome = "connection_gone" // the connection to reconnect no longer exists
	ConnectUnfinished      ConnectOutcome = "unfinished"      // the grant is saved, sealed, and will be stored as soon as possible
	ConnectAwaitingFinish  ConnectOutcome = "awaiting_finish" // a bound session's grant waits, sealed, until the product finishes
	ConnectNotFinished     ConnectOutcome = "not_finished"    // the product did not finish in time
)

// ConnectOutcomes lists every outcome.
var ConnectOutcomes = []ConnectOutcome{ConnectConnected, ConnectDenied, ConnectProviderDown, ConnectMisconfigured, ConnectCodeRefused, ConnectMixedUp,
	ConnectAccountUnknown, ConnectAccountMismatch, ConnectScopesMissing, ConnectNoRefreshToken, ConnectGone, ConnectUnfinished, ConnectChooseAccount, ConnectNotChosen,
	ConnectAwaitingFinish, ConnectNotFinished}

// connectTexts has the texts for the customer, by outcome; {p} is the provider's title.
var connectTexts = map[ConnectOutcome]StatusText{
	ConnectConnected:       {"{p} is connected", "You can close this page.", ""},
	ConnectDenied:          {"{p} was not connected", "Access was not allowed in {p}, so nothing was changed.", "Try again and choose to allow access."},
	ConnectProviderDown:    {"{p} does not answer", "{p} has a problem at the moment. Nothing was changed.", "Try again in a few minutes."},
	ConnectMisconfigured:   {"{p} could not be connected", "{p} does not accept our request. This is not your doing.", "Contact support; trying again does not help."},
	ConnectCodeRefused:     {"That took too long", "{p} does not accept this answer any more. Nothing was changed.", "Try again."},
	ConnectMixedUp:         {"{p} was not connected", "The answer did not come from {p}. For your safety nothing was changed.", "Try again from the beginning."},
	ConnectAccountUnknown:  {"{p} could not be connected", "{p} did not say which account allowed access. Nothing was changed.", "Try again. If it happens again, contact support."},
	ConnectAccountMismatch: {"That is another account", "You allowed access to another {p} account than the one that is connected here. Nothing was changed.", "Try again and sign in to {p} with the right account."},
	ConnectChooseAccount:   {"Which one do you want to connect?", "You allowed access to several accounts in {p}. Each is connected on its own.", "Choose one."},
	ConnectNotChosen:       {"{p} was not connected", "No account was chosen in time. Nothing was changed.", "Try again and choose one."},
	ConnectScopesMissing:   {"Permissions are missing", "{p} was not connected, because it was not given every permission that is needed:", "Try again and leave every permission selected."},
	ConnectNoRefreshToken:  {"{p} could not be connected", "{p} gave access for a short time only. Nothing was changed.", "Try again. If it happens again, contact support."},
	ConnectGone:            {"There is nothing to reconnect", "This connection to {p} was removed.", "Start again from where you came from."},
	ConnectAwaitingFinish:  {"Almost done", "Access to {p} was allowed. It counts once you are back where you started.", "Go back to finish."},
	ConnectNotFinished:     {"{p} was not connected", "The sign-in was not finished by the person who started it. Nothing was changed.", "Try again from where you started. If you did not start this yourself, close this page."},
	ConnectUnfinished:      {"Almost done", "Access to {p} was allowed and is being stored.", "Wait a moment, then look again. You need not allow access a second time."},
}

// DescribeConnect turns an outcome into text for the customer. title is the provider's
// name as customers know it ("HubSpot").
func DescribeConnect(o ConnectOutcome, title string) StatusText {
	w, ok := connectTexts[o]
	if !ok {
		w = StatusText{"{p} was not connected", "Something went wrong on our side.", "Try again."}
	}
	fill := strings.NewReplacer("{p}", title)
	return StatusText{Label: fill.Replace(w.Label), Detail: fill.Replace(w.Detail), Action: fill.Replace(w.Action)}
}
