// Package browser tests the connect pages in headless Chromium and takes screenshots of
// each (artifacts/connect). It is a module of its own, so that the product does not
// depend on the library that drives the browser.
package browser
