package proxy

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// HAZARDS 20: a server that is starting or shutting down refuses, or isn't there, before the monitor has noticed. Nothing of a statement has been
// sent then, so it is sent later; for as long as --pool-wait, and then the client is told why. What won't be otherwise in a moment is told at once.
func TestServerThatIsAwayForAMomentIsWaitedFor(t *testing.T) {
	starting := wire.Fatal("57P03", "the database system is starting up")
	for _, c := range []struct {
		name  string
		sql   string
		err   error
		waits bool
		told  string
	}{
		{"a write, and the server is starting", "INSERT INTO t VALUES ('tag 1')", starting, true, "57P03"},
		{"a read", "SELECT 'tag 1'", starting, true, "57P03"},
		{"what binds", "LISTEN x", starting, true, "57P03"},
		{"a write, and nobody listens", "INSERT INTO t VALUES ('tag 1')", errors.New("connection refused"), true, "08006"},
		{"a password that is wrong", "INSERT INTO t VALUES ('tag 1')", wire.Fatal("28P01", "password authentication failed"), false, "28P01"},
		{"too many connections", "INSERT INTO t VALUES ('tag 1')", wire.Fatal("53300", "too many clients"), false, "53300"},
		{"a full pool", "SELECT 'tag 1'", backend.ErrPoolWait, false, "53300"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask := func() *simulation {
				m := newSimulation(t)
				m.slow = true
				m.ask(wire.AppendQuery(nil, c.sql), 1)
				m.deliver(len(m.unsent))
				for len(m.toServe) > 0 { // it is planned
					m.run(0)
				}
				return m
			}
			// refuse refuses connections until nobody wants one.
			refuse := func(m *simulation) {
				for m.wanted {
					m.wanted = false
					m.s.Granted(nil, c.err)
				}
			}
			m := ask()
			refuse(m)
			if waits := m.s.phase == phaseAwaiting && len(m.out) == 0; waits != c.waits {
				t.Fatalf("it waits: %v; answered %q", waits, m.out)
			}
			if !c.waits {
				if !strings.Contains(string(m.out), c.told) {
					t.Fatalf("answered %q", m.out)
				}
				return
			}
			for range 5 { // more often than a read is tried
				m.wakeDue = false
				m.s.Woken(m.wakes)
				refuse(m)
				if m.s.phase != phaseAwaiting || len(m.out) > 0 {
					t.Fatalf("answered %q", m.out)
				}
			}
			m.slow, m.wakeDue = false, false
			m.s.Woken(m.wakes) // and there it is
			m.settle()
			m.check()
			if m.ready != 1 || m.s.last.reason == reasonError {
				t.Errorf("%d ReadyForQuery, reason %v", m.ready, m.s.last.reason)
			}

			m = ask()
			refuse(m)
			m.now += int64(time.Second) // PoolWait
			m.wakeDue = false
			m.s.Woken(m.wakes)
			refuse(m)
			if !strings.Contains(string(m.out), c.told) || !strings.Contains(string(m.out), "SERROR") {
				t.Errorf("told %q at the end", m.out)
			}
		})
	}
}

// HAZARDS 22: while a statement of a transaction is verified on the connection that has the transaction, which takes a round trip, the connection is
// lost. The statement must not be run on another one, outside of the transaction; the client has to know that the transaction is gone.
func TestStatementOfATransactionIsNotRunOutsideOfIt(t *testing.T) {
	for _, first := range []string{"BEGIN", "LISTEN x"} {
		m := newSimulation(t)
		do := func(msgs ...[]byte) {
			m.ask(bytes.Join(msgs, nil), 0)
			m.sync()
			m.deliver(len(m.unsent))
		}
		bindAndExecute := [][]byte{wire.AppendBind(nil, "", "a", nil, nil, nil), wire.AppendExecute(nil, "", 0)}
		do(append([][]byte{wire.AppendParse(nil, "a", "INSERT INTO t VALUES ('tag 1') RETURNING 1"), wire.AppendDescribe(nil, wire.ObjectStatement, "a")}, bindAndExecute...)...)
		m.settle()
		m.conns[0].lost = true // the next one is another, which doesn't know the statement
		for _, sql := range []string{first, "INSERT INTO t VALUES ('tag 2')"} {
			m.ask(wire.AppendQuery(nil, sql), 1)
			m.deliver(len(m.unsent))
			m.settle()
		}
		if len(m.conns) != 2 || !m.conns[1].mine() {
			t.Fatalf("%d connections", len(m.conns))
		}
		// So that there is something to verify.
		st := m.s.named["a"]
		st.promise.Store(newDescription(wire.AppendParameterDescription(nil), wire.AppendRowDescription(nil, wire.Column{Name: "x", TypeOID: 23})))
		do(bindAndExecute...)
		for len(m.toServe) > 0 {
			m.run(0)
		}
		if m.s.phase != phaseSettling {
			t.Fatalf("phase %d: the statement isn't verified", m.s.phase)
		}
		m.out = nil
		m.conns[1].lost = true
		m.conns[1].conn.Own(nil)
		m.s.ServerClosed(nil)
		if len(m.conns) != 2 || !m.closing || !strings.Contains(string(m.out), "FATAL") {
			t.Errorf("after %s: %d connections, closing %v, the client is told %q", first, len(m.conns), m.closing, m.out)
		}
	}
}
