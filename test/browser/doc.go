// Package browser holds tests of the connect pages in headless Chromium, which
// take screenshots of each (artifacts/connect). It is a module of its own, so that
// the product never depends on what drives the browser.
package browser
