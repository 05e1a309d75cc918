package provider

import "cmp"

// knowledge reads what a description says to people: its facts decide nothing.
func (o overlay) knowledge() {
	if o.d.Rotation != "" {
		o.oneOf("rotation", o.d.Rotation, enumOf[Description]("Rotation"))
		o.e.Rotation = Rotation(o.d.Rotation)
	}
	if o.d.GrantsPerUser < 0 {
		o.report("grants_per_user", "must be above zero; leave it out if no limit is known")
	}
	o.e.GrantsPerUser = cmp.Or(o.d.GrantsPerUser, o.e.GrantsPerUser)
	o.e.Revocation = cmp.Or(o.d.Revocation, o.e.Revocation)
	o.e.RateLimit = cmp.Or(o.d.RateLimit, o.e.RateLimit)
	o.hosts("api_hosts", o.d.APIHosts)
	setList(&o.e.APIHosts, o.d.APIHosts)
	o.setup()
}

func (o overlay) setup() {
	if o.d.Setup == nil {
		return
	}
	before := o.e.Setup
	if o.replace {
		before = Setup{}
	}
	o.e.Setup = Setup{
		Register:     cmp.Or(o.d.Setup.Register, before.Register),
		RedirectURIs: cmp.Or(o.d.Setup.RedirectURIs, before.RedirectURIs),
		RefreshToken: cmp.Or(o.d.Setup.RefreshToken, before.RefreshToken),
		Sandbox:      cmp.Or(o.d.Setup.Sandbox, before.Sandbox),
	}
}
