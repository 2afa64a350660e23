package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// The catalog may change at any moment, also while a unit is being worked at, whose plans were made by what it was. Whenever that is, the unit is
// answered to its end, with the answer that it would have got otherwise.
func TestCatalogThatChangesInTheMiddleOfAUnit(t *testing.T) {
	sync := wire.AppendSync(nil)
	parse := func(name, sql string) []byte { return wire.AppendParse(nil, name, sql) }
	execute := bytes.Join([][]byte{wire.AppendDescribe(nil, wire.ObjectPortal, ""), wire.AppendExecute(nil, "", 0)}, nil)
	run := func(name string) []byte { return append(wire.AppendBind(nil, "", name, nil, nil, nil), execute...) }
	for _, c := range []struct {
		name  string
		units [][]byte // each with its Sync; the catalog changes in the last
	}{
		{"one of ours, prepared before", [][]byte{append(parse("a", "SHOW freshet.source"), sync...), append(run("a"), sync...)}},
		{"one of ours", [][]byte{bytes.Join([][]byte{parse("", "SHOW freshet.source"), run(""), sync}, nil)}},
		{"two of ours", [][]byte{bytes.Join([][]byte{parse("", "SHOW freshet.source"), run(""), parse("a", "SET freshet.cache = off"), run("a"), sync}, nil)}},
		{"one of ours, only prepared", [][]byte{bytes.Join([][]byte{parse("a", "SHOW freshet.source"), wire.AppendDescribe(nil, wire.ObjectStatement, "a"), sync}, nil)}},
		{"DEALLOCATE", [][]byte{append(parse("a", "SELECT 1"), sync...), bytes.Join([][]byte{parse("", "DEALLOCATE a"), run(""), sync}, nil)}},
		{"one of ours among others", [][]byte{bytes.Join([][]byte{parse("", "SELECT 1"), run(""), parse("", "SHOW freshet.source"), run(""), sync}, nil)}},
		{"one of ours in a stream", [][]byte{bytes.Join([][]byte{parse("", "INSERT INTO t VALUES (1)"), run(""), wire.AppendFlush(nil), parse("", "SHOW freshet.source"), run(""), sync}, nil)}},
		{"a read", [][]byte{append(parse("a", "SELECT 1"), sync...), append(run("a"), sync...)}},
		{"PREPARE and EXECUTE", [][]byte{bytes.Join([][]byte{parse("", "PREPARE q AS SELECT 1"), run(""), parse("", "EXECUTE q"), run(""), sync}, nil)}},
		{"a transaction", [][]byte{bytes.Join([][]byte{parse("", "BEGIN"), run(""), parse("", "INSERT INTO t VALUES (1)"), run(""), parse("", "COMMIT"), run(""), sync}, nil)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := func(n int) (kinds string, over bool) {
				m := newSimulation(t)
				client := &recorder{simulation: m}
				m.s.env, m.asked = client, len(c.units)
				snaps := [...]*catalog.Snapshot{{ServerVersion: 150000, Generation: 1}, {ServerVersion: 150000, Generation: 2}}
				looks := -1 // not counted yet
				current := func() *catalog.Snapshot {
					if looks >= 0 {
						looks++
					}
					if looks > n {
						return snaps[1]
					}
					return snaps[0]
				}
				m.s.db.Catalog, m.s.db.Planner = current, router.NewPlanner(current)
				for i, unit := range c.units {
					if i == len(c.units)-1 {
						looks = 0
					}
					client.got = nil
					m.s.ClientData(bytes.Clone(unit))
					for m.busy() {
						m.serve(1 << 20)
					}
				}
				for p := client.got; len(p) > 0; {
					typ, size, err := wire.Frame(p)
					if err != nil {
						t.Fatal(err)
					}
					kinds += string(typ)
					p = p[size:]
				}
				if !m.s.Idle() && m.s.bound == "" || m.closing {
					kinds += fmt.Sprintf("; phase %d, closing %v", m.s.phase, m.closing)
				}
				return kinds, looks <= n
			}
			want, _ := answer(1 << 30)
			if want[len(want)-1] != wire.MsgReadyForQuery || strings.ContainsRune(want, rune(wire.MsgErrorResponse)) {
				t.Fatalf("answered %s when it doesn't change", want)
			}
			for n := 0; ; n++ {
				got, over := answer(n)
				if over {
					break
				}
				if got != want {
					t.Errorf("answered %s when it changes after look %d, %s when it doesn't", got, n, want)
				}
			}
		})
	}
}

// recorder keeps what the client gets.
type recorder struct {
	*simulation
	got []byte
}

func (r *recorder) ToClient(p []byte) {
	r.got = append(r.got, p...)
	r.simulation.ToClient(p)
}

// busy says whether something is under way.
func (m *simulation) busy() bool {
	for _, c := range m.conns {
		if c.pending() {
			return true
		}
	}
	return len(m.toServe) > 0
}
