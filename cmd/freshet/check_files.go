package main

import (
	"fmt"
	"time"

	"github.com/freshet/freshet/proxy/auth"
)

// expiresSoon is how long before its end a certificate is worth a word.
const expiresSoon = 14 * 24 * time.Hour

// checkFiles reads what serve reads before it lets anybody in: clients' TLS, and the list of users.
func (k *inspection) checkFiles() {
	if k.cfg.TLSMode != "off" {
		k.checkTLS(time.Now())
	}
	if k.cfg.AuthFile == "" {
		return
	}
	what := "users of --auth-file"
	users, warnings, err := auth.LoadUserlist(k.cfg.AuthFile, nil)
	if err != nil {
		k.add(levelDown, what, err.Error())
		return
	}
	for _, w := range warnings {
		k.add(levelDegraded, what, w)
	}
	if len(warnings) == 0 {
		k.add(levelOK, what, fmt.Sprintf("%d in %s", users.Len(), k.cfg.AuthFile))
	}
}

func (k *inspection) checkTLS(now time.Time) {
	const what = "TLS for clients"
	state, warnings, err := auth.LoadTLS(k.cfg.tlsFiles())
	if err != nil {
		k.add(levelDown, what, err.Error())
		return
	}
	first := len(k.findings)
	for _, w := range warnings {
		k.add(levelDegraded, what, w)
	}
	const mend = "put another one in its place; SIGHUP has serve read it"
	switch end := state.NotAfter(); {
	case now.After(end):
		k.findings[first].mend = []string{mend}
	case end.Sub(now) < expiresSoon:
		k.add(levelNote, what, fmt.Sprintf("the certificate in --tls-cert %s expires on %s", k.cfg.TLSCert, end.Format(time.RFC3339)), mend)
	case len(warnings) == 0:
		k.add(levelOK, what, fmt.Sprintf("--tls-mode=%s, the certificate is good until %s", k.cfg.TLSMode, end.Format(time.RFC3339)))
	}
}
