// Package temporalserver runs a real Temporal server, like a deployment's, on its own
// PostgreSQL. The server is built from source once. The product never imports it.
package temporalserver
