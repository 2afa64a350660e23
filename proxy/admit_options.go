package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/wire"
)

// settings are the request's settings in the order in which Postgres sets them (process_startup_options): the switches
// in "options" first, then the others.
func (q *startupRequest) settings() ([]wire.Param, error) {
	settings, err := parseSwitches(splitOptions(q.options))
	if err != nil {
		return nil, err
	}
	for _, p := range q.params {
		settings = append(settings, wire.Param{Name: lowerASCII(p.Name), Value: p.Value})
	}
	return settings, nil
}

// splitOptions cuts a string at white space, where a backslash makes a character an ordinary one: pg_split_opts.
func splitOptions(s string) []string {
	var args []string
	var arg []byte
	for i := 0; ; {
		for i < len(s) && isSpace(s[i]) {
			i++
		}
		if i == len(s) {
			return args
		}
		arg = arg[:0]
		for escaped := false; i < len(s) && (escaped || !isSpace(s[i])); i++ {
			if !escaped && s[i] == '\\' {
				escaped = true
				continue
			}
			escaped = false
			arg = append(arg, s[i])
		}
		args = append(args, string(arg))
	}
}

// isSpace is isspace() in the C locale.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// planSwitches are what follows -f (set_plan_disabling_options).
var planSwitches = map[string]string{
	"s": "enable_seqscan",
	"i": "enable_indexscan",
	"o": "enable_indexonlyscan",
	"b": "enable_bitmapscan",
	"t": "enable_tidscan",
	"n": "enable_nestloop",
	"m": "enable_mergejoin",
	"h": "enable_hashjoin",
}

// euro is what -e stands for.
var euro = wire.Param{Name: "datestyle", Value: "euro"}

// parseSwitches reads the server's command-line switches as far as they are settings that a session can have
// (process_postgres_switches): -c name=value, --name=value, and those of the others that ordinary users may give.
func parseSwitches(args []string) ([]wire.Param, error) {
	var settings []wire.Param
	for len(args) > 0 {
		cluster := args[0]
		args = args[1:]
		if len(cluster) < 2 || cluster[0] != '-' || cluster == "--" {
			return nil, unsupportedSwitch(cluster)
		}
		for cluster = cluster[1:]; cluster != ""; {
			c := cluster[0]
			cluster = cluster[1:]
			if c == 'e' { // the only one without a value; once is as good as ten thousand times
				if n := len(settings); n == 0 || settings[n-1] != euro {
					settings = append(settings, euro)
				}
				continue
			}
			value := cluster
			if value == "" && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			cluster = ""
			switch c {
			case 'c', '-':
				name, v, ok := strings.Cut(value, "=")
				if !ok || name == "" {
					return nil, unsupportedSwitch("-" + string(c) + value)
				}
				settings = append(settings, wire.Param{Name: lowerASCII(strings.ReplaceAll(name, "-", "_")), Value: v})
			case 'S':
				settings = append(settings, wire.Param{Name: "work_mem", Value: value})
			case 'f':
				name, ok := planSwitches[value]
				if !ok {
					return nil, unsupportedSwitch("-f" + value)
				}
				settings = append(settings, wire.Param{Name: name, Value: "false"})
			default:
				return nil, unsupportedSwitch("-" + string(c))
			}
		}
	}
	return settings, nil
}

func unsupportedSwitch(s string) error {
	return wire.Fatal("0A000", "switch \"%s\" in the startup parameter \"options\" is not supported", s).
		WithHint("Give settings as -c name=value.")
}

// lowerASCII folds a setting's name as Postgres compares them (guc_name_compare): ASCII alone.
func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if b[j] >= 'A' && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
