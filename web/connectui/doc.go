// Package connectui serves the pages on which a customer connects or reconnects an
// account: a link's page, the redirect URIs of the apps, and a text for everything that
// can go wrong in between. The pages need no JavaScript, load nothing from elsewhere,
// and look right on a phone.
package connectui
