// Package api is the HTTP API of Perennial for product code in any language:
// connections, their access tokens and history, apps and webhooks, under /v1. Its
// OpenAPI 3.1 document is generated from this code and served at /v1/openapi.json.
//
// A request carries an API key as a bearer token (RFC 6750). The key belongs to one
// tenant; what belongs to another tenant is not found. Every error is a problem (RFC
// 9457) with a stable code. Only the answer to GET .../token holds an access token, and
// only the answers that create a webhook's secret hold one.
package api
