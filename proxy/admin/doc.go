// Package admin is what operators see over HTTP: metrics for Prometheus,
// whether the process lives, whether it can answer reads and what is
// degraded, and a page that shows it to a person.
//
// It is not where those facts are made: it asks for a Snapshot at each request
// and only puts it into words. It changes nothing, so every request is a GET.
//
// The rules it upholds: no answer holds a secret (everything that comes from
// outside goes through Redact), and a slow or greedy HTTP client costs the
// proxy nothing that isn't bounded.
package admin
