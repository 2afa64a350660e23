package admin

import "regexp"

// Secrets as they occur in what people type and programs log: the password of
// a URL, and of a keyword/value connection string or a URL's parameters.
var (
	// Greedy up to the last @ of the authority, since a password that wasn't
	// percent-encoded may hold one, and a slash or a question mark, too.
	urlPassword = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/?#@"'` + "`" + `]*):[^\s"'` + "`" + `]*@`)
	keyPassword = regexp.MustCompile(`(?i)\b((?:ssl)?password|passwd|pwd)(\s*=\s*|%3D)('(?:[^'\\]|\\.)*'|[^\s&,;"'` + "`" + `]+)`)
)

// Redact hides the passwords of URLs and connection strings in a text that
// leaves the process: a log, an error, an answer over HTTP. What isn't a secret
// stays, as far as that can be told apart.
func Redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1:***@")
	return keyPassword.ReplaceAllString(text, "$1$2***")
}
