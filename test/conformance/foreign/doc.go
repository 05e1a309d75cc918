// Package foreign lets connections live at authorization servers that are not ours: Ory
// Hydra, Glewlwyd, LemonLDAP::NG, Doorkeeper and django-oauth-toolkit. Each runs as a
// process of its own and is described as a user would describe it. The code is in the
// tests; what is here says how Hydra is built.
package foreign
