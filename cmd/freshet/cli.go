package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/freshet/freshet/bench/check"
)

// grammar is the command line.
type grammar struct {
	Serve   serveCommand   `cmd:"" help:"Run the proxy."`
	Demo    demoCommand    `cmd:"" help:"See it work: servers in a folder of their own, Freshet before them, a comparison."`
	Check   checkCommand   `cmd:"" help:"Look at everything that serve would use, with the same flags: what works, what is degraded, and what mends it."`
	Setup   setupCommand   `cmd:"" help:"Prepare a database for the cache: publication, event triggers, and the function that reads password verifiers."`
	Bench   benchCommand   `cmd:"" help:"Measure and check it."`
	Explain explainCommand `cmd:"" help:"Say what Freshet would do with a statement, and why."`
	Version versionCommand `cmd:"" help:"Print version, commit and Go version."`
}

// parse reads the command line, the environment and the configuration file.
// Every error is a usageError.
func parse(args []string, stdout, stderr io.Writer) (*kong.Context, *grammar, error) {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parser, err := newParser(&grammar{}, stdout, stderr)
	if err != nil {
		return nil, nil, err // our own mistake
	}
	options := []kong.Option{}
	// The first pass only finds out which file is to be read.
	if path := configPath(parser, args); path != "" {
		file, err := readConfigFile(path, fileKeys(parser))
		if err != nil {
			return nil, nil, usageError{err}
		}
		options = append(options, kong.Resolvers(file))
	}
	target := &grammar{}
	if parser, err = newParser(target, stdout, stderr, options...); err != nil {
		return nil, nil, err
	}
	invocation, err := parser.Parse(args)
	if err != nil {
		help := "freshet --help"
		if words := strings.Fields(args[0]); len(words) == 1 && hasCommand(parser, words[0]) {
			help = "freshet " + words[0] + " --help"
		}
		return nil, nil, usageError{fmt.Errorf("%w (see: %s)", err, help)}
	}
	return invocation, target, nil
}

func newParser(target any, stdout, stderr io.Writer, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(target, append([]kong.Option{
		kong.Name("freshet"),
		kong.Description("A Postgres proxy that scales reads without making them wrong."),
		kong.Writers(stdout, stderr),
		kong.Vars{"faults": strings.Join(check.FaultNames(), ", ")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), decodeDuration),
		kong.TypeMapper(reflect.TypeFor[Size](), decodeSize),
		kong.PostBuild(nameVariables),
	}, options...)...)
}

// nameVariables gives each flag its environment variable, --l1-size
// FRESHET_L1_SIZE, except where a tag says env:"-". (kong's own DefaultEnvars
// would make it FRESHET_L_1_SIZE.)
func nameVariables(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		for _, flag := range command.Flags {
			switch {
			case len(flag.Envs) == 0 && flag.Name != "help":
				flag.Envs = []string{variable(flag.Name)}
			case len(flag.Envs) == 1 && flag.Envs[0] == "-":
				flag.Envs = nil
			}
			// kong reads it here, too.
			flag.Tag.Envs = flag.Envs
		}
	}
	return nil
}

func variable(flag string) string {
	return "FRESHET_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func hasCommand(k *kong.Kong, name string) bool {
	for _, command := range k.Model.Children {
		if command.Name == name {
			return true
		}
	}
	return false
}

// configPath is the value of --config or its variable, for a command that has
// the flag.
func configPath(k *kong.Kong, args []string) string {
	trace, err := kong.Trace(k, args)
	if err != nil || trace.Error != nil || trace.Selected() == nil {
		return "" // said by Parse
	}
	for _, flag := range trace.Selected().Flags {
		if flag.Name != "config" {
			continue
		}
		for _, path := range trace.Path {
			if path.Flag == flag {
				value, _ := trace.FlagValue(flag).(string)
				return value
			}
		}
		return os.Getenv(variable("config"))
	}
	return ""
}

// fileKeys are the keys that a configuration file may have, and whether each
// takes a list: the flags of serve, whichever command reads the file.
func fileKeys(k *kong.Kong) map[string]bool {
	keys := map[string]bool{}
	for _, command := range k.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			if flag.Name != "help" && flag.Name != "config" {
				keys[flag.Name] = flag.IsSlice()
			}
		}
	}
	return keys
}
