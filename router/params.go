package router

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// CountParams returns the highest number of a parameter ($1) in a text, and whether it could be read. It takes as long as a plan.
func CountParams(text string) (n int, ok bool) {
	scan, err := pg.Scan(text)
	if err != nil {
		return 0, false
	}
	for _, t := range scan.Tokens {
		if t.Token != pg.Token_PARAM {
			continue
		}
		i := 0
		for _, c := range text[t.Start+1 : t.End] {
			i = i*10 + int(c-'0')
		}
		n = max(n, i)
	}
	return n, true
}
