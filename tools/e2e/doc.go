// Package e2e holds the end-to-end tests with stock tools: redis-cli and the
// cluster clients of Go, Python and Node.js, each against three real processes
// that it reaches through one of them.
package e2e
