package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFile is a configuration file: a YAML mapping from flags' names to
// values. The values are read as text, by the same rules as those of flags and
// variables, so that nothing means something else in one place than in another
// (to YAML, 5 would be a number, and to kong 5 nanoseconds).
type configFile struct {
	path   string
	values map[string]fileValue
}

type fileValue struct {
	line int
	text any // string, or []any of string for a list
}

// readConfigFile reads a file. keys are those that there may be, and whether
// each takes a list. Its errors name file and line, and never a value.
func readConfigFile(path string, keys map[string]bool) (*configFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	f := &configFile{path: path, values: map[string]fileValue{}}
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return f, nil // empty
	} else if err != nil {
		return nil, fmt.Errorf("--config %s: not YAML: %w", path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("--config %s: only one YAML document is possible", path)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return f, nil // only comments
	}
	if root.Kind != yaml.MappingNode {
		return nil, f.errorAt(root, "expected lines of the form `key: value`, the keys being the names of serve's flags")
	}
	var wrong []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		if err := f.add(root.Content[i], root.Content[i+1], keys); err != nil {
			wrong = append(wrong, err)
		}
	}
	return f, errors.Join(wrong...)
}

func (f *configFile) add(key, value *yaml.Node, keys map[string]bool) error {
	name := key.Value
	list, known := keys[name]
	switch _, twice := f.values[name]; {
	case !known:
		hint := "the keys are the names of serve's flags"
		if near := nearest(name, keys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return f.errorAt(key, "unknown key %q: %s", name, hint)
	case twice:
		return f.errorAt(key, "%s: the key is here twice", name)
	}
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	v := fileValue{line: key.Line}
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return f.errorAt(key, "%s: no value; \"\" is an empty one", name)
	case value.Kind == yaml.ScalarNode:
		v.text = value.Value
	case value.Kind == yaml.SequenceNode && list:
		items := []any{}
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return f.errorAt(item, "%s: expected a list of texts", name)
			}
			items = append(items, item.Value)
		}
		v.text = items
	default:
		expected := "one value"
		if list {
			expected = "a text, or a list of texts"
		}
		return f.errorAt(key, "%s: expected %s", name, expected)
	}
	f.values[name] = v
	return nil
}

func (f *configFile) errorAt(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("--config %s, line %d: %s", f.path, n.Line, fmt.Sprintf(format, args...))
}

// Validate implements kong.Resolver: everything was seen to when the file was
// read.
func (f *configFile) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. kong asks for flags that aren't on the
// command line; the environment goes before the file, too.
func (f *configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := f.values[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	// A trial, since kong's own message wouldn't say that the value is from the file.
	trial := reflect.New(flag.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(v.text, kong.FlagValueToken)
	if err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, trial); err != nil {
		return nil, fmt.Errorf("%w (%s, line %d)", err, f.path, v.line)
	}
	return v.text, nil
}

// nearest is the key that a mistyped one was probably meant to be; empty: none
// is near.
func nearest(name string, keys map[string]bool) string {
	best, distance := "", 3
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if d := editDistance(name, key); d < distance {
			best, distance = key, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
