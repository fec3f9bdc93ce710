package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines tells where each key stands, as "tls.key" or "route.0.via"; a table
// stands at its heading.
type lines map[string]int

// findLines walks the file once more for positions, which decoding into a
// struct does not keep.
func findLines(text []byte) (lines, error) {
	found, arrays := lines{}, map[string]int{}
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		key, first := keyOf(e)
		line := p.Shape(first.Raw).Start.Line
		switch e.Kind {
		case unstable.Table:
			table = key + "."
		case unstable.ArrayTable:
			table = fmt.Sprintf("%s.%d.", key, arrays[key])
			arrays[key]++
		case unstable.KeyValue:
			key = table + key
		}
		if e.Kind == unstable.KeyValue {
			found[key] = line
		} else {
			found[strings.TrimSuffix(table, ".")] = line
		}
	}
	return found, p.Error()
}

// keyOf returns the dotted key of an expression and its first part.
func keyOf(e *unstable.Node) (string, *unstable.Node) {
	var parts []string
	var first *unstable.Node
	for it := e.Key(); it.Next(); {
		if first == nil {
			first = it.Node()
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), first
}

// at returns an error about the value of key that says where it stands.
func (c *Config) at(key, format string, args ...any) error {
	where := c.file
	for k := key; k != ""; k = k[:max(0, strings.LastIndexByte(k, '.'))] {
		if line, ok := c.lines[k]; ok {
			where = fmt.Sprintf("%s:%d", c.file, line)
			break
		}
	}
	return fmt.Errorf("%s: %s: %s", where, key, fmt.Sprintf(format, args...))
}
