package router

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// keyedSettings are settings of the server whose values are the same wherever a session with one key is served.
var keyedSettings = names(map[string]string{
	"": `search_path timezone datestyle intervalstyle extra_float_digits bytea_output client_encoding default_text_search_config
		lc_monetary lc_numeric lc_time xmlbinary xmloption`,
})

// currentSetting looks at a call of current_setting(). A setting that the application has made up, as in app.tenant, is
// tracked, and so in the key. Others can be those of the server that happens to answer. (The lexer doesn't lift out the
// literal after this function's name, so that it is part of the fingerprint.)
func (a *analysis) currentSetting(args []*pg.Node) {
	name := ""
	if len(args) > 0 {
		arg := args[0]
		if cast := arg.GetTypeCast(); cast != nil {
			arg = cast.Arg
		}
		name = strings.ToLower(arg.GetAConst().GetSval().GetSval())
	}
	_, keyed := keyedSettings[name]
	switch {
	case keyed:
	case strings.HasPrefix(name, "freshet."):
		a.add(onPrimary(fmt.Sprintf("current_setting('%s') is answered by Freshet itself, not by the server", name)))
	case strings.Contains(name, "."):
	case name == "":
		a.add(onPrimary("function current_setting() is called with a name that isn't written out"))
	default:
		a.add(onPrimary(fmt.Sprintf("current_setting('%s') depends on the server", name)))
	}
}
