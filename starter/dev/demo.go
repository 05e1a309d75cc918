package dev

import (
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
)

// demo is one demo connection.
type demo struct {
	app, account string
	role         role
	knobs        fakeprovider.Knobs
}

// role is what happens to a connection in the demonstration.
type role string

const (
	roleSteady  role = ""
	roleRevoked role = "revoked"
	roleKilled  role = "killed"
)

const demoTenant = "demo"

// Lifetimes are tens of seconds, so that a person can see refreshes. A token is due
// with 25 to 35 % of its lifetime left. For 48 s that is more than 10 s, after which
// the workflow tasks that a killed worker had begun time out. Tasks that it had not
// begun go to another worker after 4 s.
var demos = []demo{
	{app: "hubspot", account: "portal-101", knobs: fakeprovider.Knobs{LifetimeSeconds: 48}},
	{app: "hubspot", account: "portal-102", knobs: fakeprovider.Knobs{LifetimeSeconds: 52}},
	{app: "hubspot", account: "portal-666", role: roleRevoked, knobs: fakeprovider.Knobs{LifetimeSeconds: 50, Spelling: "hubspot"}},
	{app: "quickbooks", account: "realm-9130", knobs: fakeprovider.Knobs{LifetimeSeconds: 49, Rotate: true}},
	{app: "quickbooks", account: "realm-9131", knobs: fakeprovider.Knobs{LifetimeSeconds: 53, Rotate: true}},
	{app: "acme", account: "acme-7", role: roleKilled, knobs: fakeprovider.Knobs{LifetimeSeconds: 60, Rotate: true, GraceSeconds: 1800}},
}

// The demo's times, counted from readiness.
const (
	revokeAfter = 8 * time.Second
	killAfter   = 16 * time.Second
	// repairAfter is how long the story waits before it reconnects as the user, and
	// repairByHand how long a person at the terminal has to do that.
	repairAfter  = 4 * time.Second
	repairByHand = 45 * time.Second
)

// perennialYAML is the demo's configuration. %[1]s is the provider's URL, %[2]s the
// state folder with its quotes doubled and %[3]d the server's port.
const perennialYAML = `# Written by perennial dev; written anew at each start.
database_url: 'sqlite:%[2]s/perennial.db'
keys: '%[2]s/keys'
spool: '%[2]s/spool'
allow_plaintext_keys: true
task_queue: perennial-dev
listen: 127.0.0.1:0
log_format: json
server:
  listen: 127.0.0.1:%[3]d
  health: 127.0.0.1:0
connect:
  base_url: http://127.0.0.1:%[3]d
  product: The demonstration
timing: # short, because the demo's tokens live for tens of seconds
  http_timeout: 2s
  save_timeout: 1s
  start_to_close: 4s
  attempt_deadline: 5s
  worker_stop: 6s
  confirm_delay: 3s
apps:
  - name: hubspot # like HubSpot: no rotation, client authentication in the body
    provider: hubspot
    client_id: demo-hubspot
    client_secret_file: '%[2]s/secrets/hubspot'
    token_url: %[1]s/token
    auth_url: %[1]s/authorize
    account: {from: callback, name: account, url: "%[1]s/accounts/{account}"} # the fake provider's own way
    revoke_url: %[1]s/revoke
  - name: quickbooks # like QuickBooks: rotation, Basic authentication
    provider: quickbooks
    client_id: demo-quickbooks
    client_secret_file: '%[2]s/secrets/quickbooks'
    token_url: %[1]s/token
    auth_url: %[1]s/authorize
    account: {from: callback, name: account, url: "%[1]s/accounts/{account}"} # the fake provider's own way
    revoke_url: %[1]s/revoke
  - name: acme # like Xero: rotation with a grace window of 30 minutes
    provider: generic
    title: Acme
    client_id: demo-acme
    client_secret_file: '%[2]s/secrets/acme'
    token_url: %[1]s/token
    auth_url: %[1]s/authorize
    account: {from: callback, name: account, url: "%[1]s/accounts/{account}"} # the fake provider's own way
    auth_style: header
    replay_class: grace
    grace_window: 30m
`
