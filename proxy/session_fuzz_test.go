package proxy

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
	"github.com/freshet/freshet/router/topology"
)

// FuzzSession drives a session with a script: messages of a client, whole and in pieces, legal and not, and of a server that behaves
// like Postgres or doesn't; connections granted, refused and lost; timers; all in any order. Whatever comes:
//
//   - what the client gets is made of whole messages, answers in the order of what it asked, and one ReadyForQuery for each
//     Query, FunctionCall and Sync, never more, and not fewer once everything has been delivered;
//   - a server connection is given back with nothing on its way and outside of a transaction, or is closed, once;
//   - when the client is gone, the session ends, once, with no connection and nobody to wait for.
func FuzzSession(f *testing.F) {
	for _, seed := range sessionSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2000 {
			return
		}
		newSimulation(t).play(script)
	})
}

// Each pair of bytes is an event and its argument: see play.
var sessionSeeds = []string{
	"\x00\x00\x08\xff\x00\x01\x08\xff",
	"\x00\x08\x00\x00\x08\xff\x00\x09\x08\xff",
	"\x01\x00\x02\x00\x03\x00\x04\x00\x08\xff\x01\x01\x02\x01\x04\x01\x05\x00\x04\x00",
	"\x00\x06\x08\xff\x00\x0a\x08\xff\x0c\x00\x00\x00\x08\x05\x08\xff",
	"\x0b\x00\x00\x00\x09\x01\x00\x01\x09\x00\x08\xff",
	"\x07\x05\x00\x00\x00\x01\x07\x03\x07\x40\x08\xff",
	"\x00\x0c\x08\xff\x06\x00\x06\x01\x08\xff\x00\x00",
	"\x0f\x00\x0e\x03\x00\x00\x0d\x43\x08\xff",
	"\x00\x08\x01\x00\x02\x00\x04\x00\x0c\x00\x08\x10\x0e\x02\x08\xff",
}

var fuzzTexts = []string{
	"SELECT 'tag %d'", "SELECT 'tag %d'", "INSERT INTO t VALUES ('tag %d')", "SET TimeZone = 'UTC'", "SET DateStyle = 'German'", "RESET ALL", "SELECT 'tag %d'; SELECT 'tag %d'", "DISCARD ALL",
	"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "COPY t FROM STDIN", "COPY t TO STDOUT", "", "PREPARE q AS SELECT 1", "EXECUTE q", "DEALLOCATE ALL", "LISTEN x", "UNLISTEN *", "CREATE TEMP TABLE x(a int)",
	"SHOW freshet.source", "SET freshet.route = 'primary'", "ROLLBACK TO a", "BEGIN READ ONLY", "SET LOCAL search_path = x", "SELECT set_config('a.b', 'tag %d', false)", "SELECT pg_advisory_lock(1)", "selct 'tag %d'", "CREATE TABLE y(a int)",
}

// simulation is the session's Env, with the client and the servers around it.
type simulation struct {
	t       testing.TB
	s       *Session
	node    *topology.Node
	now     int64
	out     []byte   // what the client has got and was not looked at
	toServe []func() // events that are due
	await   []func() // those that StopAwaiting does away with
	wanted  bool     // Acquire was answered with nil, Granted is due
	slow    bool     // Acquire is answered with nil
	expires bool
	wakes   uint64
	wakeDue bool
	closing bool // CloseClient
	gone    bool // the client
	ended   int

	unsent  []byte // of the client
	asked   int    // ReadyForQuery that the client may expect
	ready   int
	open    bool // extended messages without a Sync
	wild    bool // something was sent for which replies can't be counted
	garbled bool // the server said nonsense, perhaps in the middle of an answer
	tag     int
	seen    int
	// prepared are the numbers in texts of statements, which may be executed any time later.
	prepared map[int]bool

	conns []*fakeServer
	fail  bool // the next statement fails
}

func newSimulation(t testing.TB) *simulation {
	topo, err := topology.New(topology.Config{Primary: "postgres://u:p@127.0.0.1:1/d"})
	if err != nil {
		t.Fatal(err)
	}
	m := &simulation{t: t, node: topo.Nodes()[0], now: 1, prepared: map[int]bool{}}
	empty := &catalog.Snapshot{ServerVersion: 150000}
	none := func() *catalog.Snapshot { return empty }
	db := &Database{
		Name: "d", Table: consistency.NewTable(16), Plans: router.NewPlanCache(64), Planner: router.NewPlanner(none), Catalog: none,
		CatalogCheckedAt: func() int64 { return m.now }, CatalogHurry: func() {},
	}
	shared := NewShared(SharedConfig{
		Nodes: oneNode{m.node}, L1: cache.NewL1(1<<20, 1), MaxEntry: 1 << 10, Registry: consistency.NewRegistry(time.Second, consistency.CaughtUp),
		NewConsistency: func() *consistency.Session { return consistency.NewSession(time.Second, consistency.CaughtUp) },
		MaxStaleness:   time.Second, PoolWait: time.Second, MaxPrepared: 2, CancelWait: time.Second,
	})
	m.s, err = NewSession(m, shared, NewShardLocal(), db, "u", []wire.Param{{Name: "TimeZone", Value: "Asia/Tokyo"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.s.pid = 77
	return m
}

func (m *simulation) play(script []byte) {
	for len(script) >= 2 && !m.t.Failed() {
		op, arg := script[0]%16, script[1]
		script = script[2:]
		name := string('a' + arg&1)
		switch op {
		case 0:
			m.sync()
			m.ask(wire.AppendQuery(nil, m.text(arg)), 1)
		case 1:
			from := m.tag
			m.ask(wire.AppendParse(nil, name, m.text(arg>>1)), 0)
			for from++; from <= m.tag; from++ {
				m.prepared[from] = true
			}
		case 2:
			m.ask(wire.AppendBind(nil, strings.Repeat("p", int(arg>>1&1)), name, nil, nil, nil), 0)
		case 3:
			switch arg % 4 {
			case 0, 1:
				m.ask(wire.AppendDescribe(nil, "SP"[arg%2], strings.Repeat(name, int(1-arg%2))), 0)
			case 2:
				m.ask(wire.AppendClose(nil, wire.ObjectStatement, name), 0)
			case 3:
				m.ask(wire.AppendFlush(nil), 0)
			}
		case 4:
			m.ask(wire.AppendExecute(nil, strings.Repeat("p", int(arg&1)), uint32(arg>>1&1)), 0)
		case 5:
			m.sync()
		case 6:
			switch arg % 4 {
			case 0:
				m.ask(wire.AppendCopyData(nil, []byte("row\n")), 0)
			case 1:
				m.ask(wire.AppendCopyDone(nil), 0)
			case 2:
				m.ask(wire.AppendCopyFail(nil, "no"), 0)
			case 3:
				m.sync()
				m.ask(wire.AppendFunctionCall(nil, 1, nil, nil, 0), 1)
			}
			m.wild = m.wild || arg%4 < 3
		case 7: // in pieces
			m.deliver(int(arg))
		case 8:
			m.deliver(len(m.unsent))
			for range 1 + int(arg)/16 {
				m.serve(1 + int(arg))
			}
		case 9:
			if len(m.toServe) > 0 {
				m.run(int(arg))
			}
		case 10: // the client says nonsense
			n := min(int(arg), len(script))
			m.wild = true
			m.unsent, script = append(m.unsent, script[:n]...), script[n:]
		case 11:
			m.slow = !m.slow
		case 12:
			m.fail = true
		case 13: // the server says nonsense
			for _, c := range m.conns {
				if c.mine() {
					m.wild, m.garbled, c.broken = true, true, true
					m.s.ServerData([]byte{arg, 0, 0, 0, byte(4 + len(script)%3), 'I', 'I'}[:5+len(script)%3])
					break
				}
			}
		case 14:
			m.happen(arg)
		case 15:
			m.deliver(len(m.unsent))
			m.settle()
		}
		m.check()
	}
	m.deliver(len(m.unsent))
	m.sync()
	m.deliver(len(m.unsent))
	m.settle()
	m.check()
	if m.t.Failed() {
		return
	}
	if !m.wild && !m.closing && !m.gone && m.ready != m.asked {
		m.t.Fatalf("%d ReadyForQuery for %d; the session is in phase %d, with %q to look at, open %v", m.ready, m.asked, m.s.phase, m.s.in, m.s.open)
	}
	m.leave()
	m.settle()
	for m.expires { // a time limit for whoever doesn't answer
		m.expires = false
		m.s.Expired()
		m.settle()
	}
	for _, c := range m.conns { // a server that talks nonsense, perhaps of something long to come, isn't there for ever
		if c.broken && c.mine() {
			c.lost = true
			c.conn.Own(nil)
			m.s.ServerClosed(nil)
		}
	}
	m.settle()
	m.check()
	if m.ended != 1 {
		m.t.Fatalf("ended %d times; the session is in phase %d", m.ended, m.s.phase)
	}
	if m.wanted {
		m.t.Fatal("it still waits for a connection")
	}
	for i, c := range m.conns {
		if c.mine() {
			m.t.Fatalf("it still has connection %d", i)
		}
	}
}

// log is for the one who reads a failure: go test -v -run FuzzSession/…
func (m *simulation) log(format string, args ...any) {
	if testing.Verbose() {
		m.t.Logf(format, args...)
	}
}

func (m *simulation) text(n byte) string {
	sql := fuzzTexts[int(n)%len(fuzzTexts)]
	if strings.HasPrefix(sql, "COPY t FROM") {
		m.wild = true // a Sync is ignored while copy data is due
	}
	for strings.Contains(sql, "%d") {
		m.tag++
		sql = strings.Replace(sql, "%d", strconv.Itoa(m.tag), 1)
	}
	return sql
}

func (m *simulation) ask(msg []byte, replies int) {
	m.unsent = append(m.unsent, msg...)
	m.asked += replies
	if replies == 0 {
		m.open = true
	}
}

func (m *simulation) sync() {
	if m.open {
		m.open = false
		m.unsent = wire.AppendSync(m.unsent)
		m.asked++
	}
}

func (m *simulation) deliver(n int) {
	n = min(n, len(m.unsent))
	if n == 0 || m.closing || m.gone {
		return
	}
	p := bytes.Clone(m.unsent[:n]) // it is valid during the event only
	m.log("from client: %q", p)
	m.unsent = m.unsent[n:]
	m.s.ClientData(p)
	clear(p)
	m.check()
}

func (m *simulation) leave() {
	if !m.gone {
		m.gone = true
		m.s.ClientClosed(nil)
	}
}

func (m *simulation) happen(arg byte) {
	switch arg % 8 {
	case 0:
		m.leave()
	case 1:
		if !m.gone {
			m.s.Cancel(func() {})
		}
	case 2: // the server goes away
		for _, c := range m.conns {
			if c.mine() {
				c.lost = true
				c.conn.Own(nil)
				m.s.ServerClosed(nil)
				break
			}
		}
	case 3:
		m.s.Drain()
	case 4:
		if m.expires {
			m.expires = false
			m.s.Expired()
		}
	case 5:
		m.now += int64(arg) * int64(time.Second)
		if m.wakeDue {
			m.wakeDue = false
			m.s.Woken(m.wakes)
		}
	case 6:
		if m.wanted {
			m.wanted = false
			m.s.Granted(nil, fmt.Errorf("refused"))
		}
	case 7:
		m.s.ClientDrained()
		m.s.ServerDrained()
	}
}

// run lets one of the events happen that are due.
func (m *simulation) run(i int) {
	i %= len(m.toServe)
	fn := m.toServe[i]
	m.toServe = append(m.toServe[:i:i], m.toServe[i+1:]...)
	fn()
	m.check()
}

// serve has the servers, and whoever else is asked, answer; n bytes of each server's answer.
func (m *simulation) serve(n int) {
	for len(m.toServe) > 0 {
		m.run(0)
	}
	for _, c := range m.conns {
		c.serve(n)
		m.check()
	}
}

// settle lets everything happen that is due.
func (m *simulation) settle() {
	for range 10000 {
		moved := len(m.toServe) > 0
		if m.wanted {
			moved, m.wanted = true, false
			m.s.Granted(m.connect(), nil)
		}
		for _, c := range m.conns {
			moved = moved || c.pending()
		}
		m.serve(1 << 20)
		if len(m.await) > 0 {
			fn := m.await[0]
			m.await = m.await[1:]
			fn()
			moved = true
		}
		if !moved {
			if !m.wakeDue {
				return
			}
			m.wakeDue = false
			m.now += int64(time.Minute)
			m.s.Woken(m.wakes)
		}
		if m.t.Failed() {
			return
		}
	}
	m.t.Fatalf("it never comes to rest: phase %d, bound %q, %d connections", m.s.phase, m.s.bound, len(m.conns))
}

var tagText = regexp.MustCompile(`tag (\d+)`)

// check looks at what the client got, and at the connections that were given back.
func (m *simulation) check() {
	if m.garbled {
		m.out = m.out[:0]
	}
	for {
		typ, n, err := wire.Frame(m.out)
		if err != nil {
			m.t.Fatalf("the client got something malformed: %v", err)
		}
		if n == 0 || n > len(m.out) {
			break
		}
		body := m.out[wire.HeaderLen:n]
		m.log("to client: %c %q", typ, body)
		switch typ {
		case wire.MsgReadyForQuery:
			m.ready++
			if len(body) != 1 || !strings.ContainsRune("ITE", rune(body[0])) {
				m.t.Fatalf("ReadyForQuery %q", body)
			}
		case wire.MsgErrorResponse:
			if _, err := wire.DecodeError(body); err != nil {
				m.t.Fatalf("a malformed error: %v", err)
			}
		case wire.MsgDataRow:
			for _, tag := range tagText.FindAllSubmatch(body, -1) {
				at, _ := strconv.Atoi(string(tag[1]))
				if at < m.seen && !m.wild && !m.prepared[at] && !bytes.Contains(body, []byte("again")) {
					m.t.Fatalf("the answer to %d comes after that to %d", at, m.seen)
				}
				m.seen = max(m.seen, at)
			}
		}
		m.out = m.out[n:]
	}
	if m.ready > m.asked && !m.wild {
		m.t.Fatalf("%d ReadyForQuery for %d", m.ready, m.asked)
	}
	for i, c := range m.conns {
		if c.lent && !c.mine() {
			c.lent = false
			if !c.closed && !c.lost && !c.broken && (c.pending() || c.inTx != wire.TxIdle || c.skipping || c.copyIn) {
				m.t.Fatalf("connection %d was given back with %d bytes to come, %d unread, in transaction status %c", i, len(c.out), len(c.in), c.inTx)
			}
		}
	}
	if len(m.s.in) > 2*maxUnread || len(m.s.q) > 10000 {
		m.t.Fatalf("%d bytes and %d replies are kept", len(m.s.in), len(m.s.q))
	}
}

func (m *simulation) connect() *backend.Conn {
	for _, c := range m.conns { // as a pool does
		if !c.closed && !c.lost && !c.broken && !c.mine() {
			c.conn.Own(m.s)
			c.lent = true
			return c.conn
		}
	}
	c := &fakeServer{m: m, lent: true, inTx: wire.TxIdle, stmts: map[string]string{}, portals: map[string]string{}}
	c.conn = backend.NewConn(c, m.s)
	m.conns = append(m.conns, c)
	return c.conn
}

func (m *simulation) later(fn func())     { m.toServe = append(m.toServe, fn) }
func (m *simulation) Now() int64          { m.now++; return m.now }
func (m *simulation) Turn() int64         { return m.now }
func (m *simulation) ToClient(p []byte)   { m.out = append(m.out, p...) }
func (m *simulation) ClientBuffered() int { return 0 }
func (m *simulation) PauseClient()        {}
func (m *simulation) ResumeClient()       {}
func (m *simulation) CloseClient() {
	if !m.closing {
		m.closing = true
		m.later(func() { m.leave() })
	}
}
func (m *simulation) Acquire(*Session, *topology.Node) *backend.Conn {
	if m.slow {
		if m.wanted {
			m.t.Fatal("a second connection is asked for")
		}
		m.wanted = true
		return nil
	}
	return m.connect()
}
func (m *simulation) Leave(*Session) { m.wanted = false }
func (m *simulation) Plan(s *Session, req PlanRequest) {
	m.later(func() { s.Planned(req, s.db.Planner.Plan(req.Text, req.Context)) })
}
func (m *simulation) AskPosition(sess *consistency.Session, ticket uint64) {
	m.later(func() { sess.Learned(ticket, 100) })
}
func (m *simulation) AskNow(s *Session, number uint64) {
	m.later(func() { s.Positioned(number, 100, nil) })
}
func (m *simulation) AwaitSource(s *Session, _ *consistency.Source, _ consistency.LSN, number uint64) {
	m.await = append(m.await, func() { s.CaughtUp(number) })
}
func (m *simulation) AwaitReplica(*Session, consistency.LSN, uint64) bool { return false }
func (m *simulation) AwaitUntil(s *Session, _ *consistency.Source, _ int64, _ bool, number uint64) bool {
	m.await = append(m.await, func() { s.CaughtUp(number) })
	return true
}
func (m *simulation) AwaitResume(s *Session, number uint64) {
	m.await = append(m.await, func() { s.Resumed(number) })
}
func (m *simulation) StopAwaiting(*Session) { m.await, m.wakeDue = nil, false }
func (m *simulation) ConfirmVisible(s *Session, number uint64) {
	m.later(func() { s.Confirmed(number, nil) })
}
func (m *simulation) Waker(s *Session, number uint64) func() {
	return func() { m.later(func() { s.FlightOver(number) }) }
}
func (m *simulation) CancelWaker(s *Session) func() { return func() { m.later(s.CancelOver) } }
func (m *simulation) ExpireIn(_ *Session, d time.Duration) {
	m.expires = d > 0
}
func (m *simulation) WakeIn(_ *Session, _ time.Duration, number uint64) {
	m.wakes, m.wakeDue = number, true
}
func (m *simulation) Judge(s *Session, ticket uint64, ran []PlanRequest) {
	m.later(func() { s.Judged(ticket, len(ran), "") })
}
func (m *simulation) Ended(*Session) { m.ended++ }

// oneNode is Nodes: a primary.
type oneNode struct{ node *topology.Node }

func (n oneNode) Primary() *topology.Node { return n.node }
func (n oneNode) PickReplica(*consistency.Session, consistency.Read, *topology.Node) (*topology.Node, consistency.Verdict) {
	return nil, consistency.NothingKnown
}
func (n oneNode) RefNow(now int64) int64             { return now }
func (n oneNode) PrimarySource() *consistency.Source { return &n.node.Source }
func (n oneNode) AwaitReplica(consistency.LSN, func()) (func(), bool) {
	return nil, false
}
func (n oneNode) VisibleAsOf() int64 { return 1 << 62 }
func (n oneNode) DoubtReplicas()     {}
func (n oneNode) Hurry()             {}

// fakeServer answers in the protocol as Postgres does, to texts that it knows by their first words.
type fakeServer struct {
	m       *simulation
	conn    *backend.Conn
	in, out []byte
	lent    bool
	closed  bool // by the session
	lost    bool // by itself
	broken  bool // it has said nonsense

	inTx     byte
	skipping bool // to Sync
	copyIn   bool
	copyExt  bool // … of an Execute
	copyRest []string
	stmts    map[string]string
	portals  map[string]string
}

func (c *fakeServer) mine() bool {
	return !c.closed && !c.lost && c.conn.Owner() != nil
}

func (c *fakeServer) pending() bool {
	return c.mine() && (len(c.out) > 0 || c.whole() > 0)
}

func (c *fakeServer) whole() int {
	_, n, err := wire.Frame(c.in)
	if err != nil {
		c.m.t.Fatalf("the server got something malformed: %v", err)
	}
	if n > len(c.in) {
		return 0
	}
	return n
}

// Write, Buffered, PauseRead, ResumeRead and Close are backend.Transport.
func (c *fakeServer) Write(p []byte) {
	if c.closed {
		c.m.t.Fatal("written to a connection that is closed")
	}
	c.in = append(c.in, p...)
}
func (c *fakeServer) Buffered() int { return 0 }
func (c *fakeServer) PauseRead()    {}
func (c *fakeServer) ResumeRead()   {}
func (c *fakeServer) Close() {
	if c.closed {
		c.m.t.Fatal("closed twice")
	}
	c.closed = true
}

// serve answers all that has come, and sends at most n bytes of the answers.
func (c *fakeServer) serve(n int) {
	for c.mine() {
		size := c.whole()
		if size == 0 {
			break
		}
		c.m.log("to server: %q", c.in[:size])
		c.answer(c.in[0], c.in[wire.HeaderLen:size])
		c.in = c.in[size:]
	}
	if n = min(n, len(c.out)); n > 0 && c.mine() {
		p := bytes.Clone(c.out[:n])
		c.out = c.out[n:]
		c.m.s.ServerData(p)
		clear(p)
	}
}

func (c *fakeServer) error(code string) {
	c.out = wire.Errorf(code, "it fails").AppendTo(c.out)
	if c.inTx == wire.TxActive {
		c.inTx = wire.TxFailed
	}
}

// statement runs one; ok says whether the next may. It may begin COPY.
func (c *fakeServer) statement(sql string, describe bool) (ok bool) {
	upper := strings.ToUpper(strings.TrimSpace(sql))
	word, _, _ := strings.Cut(upper, " ")
	switch {
	case c.inTx == wire.TxFailed && word != "ROLLBACK" && word != "COMMIT":
		c.error("25P02")
		return false
	case word == "SELCT":
		c.error("42601")
		return false
	case c.m.fail:
		c.m.fail = false
		c.error("22012")
		return false
	case upper == "":
		c.out = wire.AppendEmptyQueryResponse(c.out)
	case word == "BEGIN":
		c.inTx = wire.TxActive
		c.out = wire.AppendCommandComplete(c.out, "BEGIN")
	case strings.HasPrefix(upper, "ROLLBACK TO"):
		if c.inTx == wire.TxIdle {
			c.error("25P01")
			return false
		}
		c.inTx = wire.TxActive
		c.out = wire.AppendCommandComplete(c.out, "ROLLBACK")
	case word == "COMMIT" || word == "ROLLBACK":
		if c.inTx == wire.TxFailed {
			word = "ROLLBACK"
		}
		c.inTx = wire.TxIdle
		c.out = wire.AppendCommandComplete(c.out, word)
	case strings.HasPrefix(upper, "COPY T FROM"):
		c.copyIn = true
		c.out = wire.AppendCopyInResponse(c.out, 0, 0)
	case strings.HasPrefix(upper, "COPY T TO"):
		c.out = wire.AppendCopyOutResponse(c.out, 0, 0)
		c.out = wire.AppendCopyData(c.out, []byte("row\n"))
		c.out = wire.AppendCopyDone(c.out)
		c.out = wire.AppendCommandComplete(c.out, "COPY 1")
	case word == "SELECT" || word == "SHOW" || word == "WITH":
		if describe {
			c.out = wire.AppendTextRowDescription(c.out, "x")
		}
		c.out = wire.AppendTextRow(c.out, sql)
		c.out = wire.AppendCommandComplete(c.out, "SELECT 1")
	case word == "DISCARD":
		clear(c.stmts)
		c.out = wire.AppendCommandComplete(c.out, "DISCARD ALL")
	case upper == "DEALLOCATE ALL":
		clear(c.stmts)
		c.out = wire.AppendCommandComplete(c.out, upper)
	case word == "PREPARE" || word == "EXECUTE" || word == "DEALLOCATE":
		return c.byName(word, strings.TrimSpace(sql), describe)
	default:
		c.out = wire.AppendCommandComplete(c.out, word)
	}
	return true
}

// byName runs PREPARE, EXECUTE or DEALLOCATE of a name.
func (c *fakeServer) byName(word, sql string, describe bool) (ok bool) {
	fields := strings.SplitN(sql, " ", 4) // PREPARE q AS SELECT 1
	name := strings.Trim(fields[1], `"`)
	there := c.stmts[name]
	switch {
	case word == "PREPARE" && there != "":
		c.error("42P05")
		return false
	case word == "PREPARE":
		c.stmts[name] = fields[3] + " "
	case there == "":
		c.error("26000")
		return false
	case word == "EXECUTE":
		return c.statement(there, describe)
	default:
		delete(c.stmts, name)
	}
	c.out = wire.AppendCommandComplete(c.out, word)
	return true
}

func (c *fakeServer) statements(list []string) {
	for i, sql := range list {
		if i > 0 && strings.TrimSpace(sql) == "" {
			continue
		}
		if !c.statement(sql, true) {
			break
		}
		if c.copyIn {
			c.copyRest = list[i+1:]
			return
		}
	}
	c.out = wire.AppendReadyForQuery(c.out, c.inTx)
}

func (c *fakeServer) answer(typ byte, body []byte) {
	if c.copyIn {
		c.copying(typ)
		return
	}
	if c.skipping && typ != wire.MsgSync && typ != wire.MsgTerminate {
		return
	}
	before := len(c.out)
	field := func() string {
		name, rest, _ := bytes.Cut(body, []byte{0})
		body = rest
		return string(name)
	}
	fail := func(code string) { c.out = c.out[:before]; c.error(code); c.skipping = true }
	switch typ {
	case wire.MsgQuery:
		sql := field()
		delete(c.stmts, "")
		delete(c.portals, "")
		c.statements(strings.Split(sql, ";"))
	case wire.MsgFunctionCall:
		if c.inTx == wire.TxFailed {
			c.error("25P02")
		} else {
			c.out = append(c.out, 'V', 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff)
		}
		c.out = wire.AppendReadyForQuery(c.out, c.inTx)
	case wire.MsgParse:
		name, sql := field(), field()
		upper := strings.ToUpper(sql)
		switch {
		case c.inTx == wire.TxFailed && !strings.HasPrefix(upper, "ROLLBACK") && !strings.HasPrefix(upper, "COMMIT"):
			fail("25P02")
		case strings.HasPrefix(upper, "SELCT"):
			fail("42601")
		case strings.Contains(sql, ";") && strings.Contains(strings.TrimRight(sql, "; "), ";"):
			fail("42601")
		case name != "" && c.stmts[name] != "":
			fail("42P05")
		default:
			c.stmts[name] = sql + " "
			c.out = wire.AppendParseComplete(c.out)
		}
	case wire.MsgBind:
		portal, name := field(), field()
		sql, ok := c.stmts[name]
		upper := strings.ToUpper(sql)
		switch {
		case !ok:
			fail("26000")
		case c.inTx == wire.TxFailed && !strings.HasPrefix(upper, "ROLLBACK") && !strings.HasPrefix(upper, "COMMIT"):
			fail("25P02")
		case portal != "" && c.portals[portal] != "":
			fail("42P03")
		default:
			c.portals[portal] = sql
			c.out = wire.AppendBindComplete(c.out)
		}
	case wire.MsgDescribe:
		object := body[0]
		body = body[1:]
		name := field()
		sql, ok := c.portals[name]
		if object == wire.ObjectStatement {
			sql, ok = c.stmts[name]
		}
		switch {
		case !ok && object == wire.ObjectStatement:
			fail("26000")
		case !ok:
			fail("34000")
		case c.inTx == wire.TxFailed:
			fail("25P02")
		default:
			if object == wire.ObjectStatement {
				c.out = wire.AppendParameterDescription(c.out)
			}
			if strings.HasPrefix(strings.ToUpper(sql), "SELECT") || strings.HasPrefix(sql, "SHOW") {
				c.out = wire.AppendTextRowDescription(c.out, "x")
			} else {
				c.out = wire.AppendNoData(c.out)
			}
		}
	case wire.MsgExecute:
		portal := field()
		sql, ok := c.portals[portal]
		if !ok {
			fail("34000")
		} else if !c.statement(sql, false) {
			c.skipping = true
		} else if c.copyIn {
			c.copyExt = true
		}
	case wire.MsgClose:
		object := body[0]
		body = body[1:]
		if name := field(); object == wire.ObjectStatement {
			delete(c.stmts, name)
		} else {
			delete(c.portals, name)
		}
		c.out = append(c.out, wire.MsgCloseComplete, 0, 0, 0, 4)
	case wire.MsgSync:
		c.skipping = false
		if c.inTx == wire.TxIdle {
			clear(c.portals)
		}
		c.out = wire.AppendReadyForQuery(c.out, c.inTx)
	}
}

func (c *fakeServer) copying(typ byte) {
	switch typ {
	case wire.MsgCopyData, wire.MsgFlush, wire.MsgSync:
		return
	case wire.MsgCopyDone:
		c.out = wire.AppendCommandComplete(c.out, "COPY 1")
	default:
		c.error("57014")
		c.skipping = c.copyExt
		c.copyRest = nil
		if !c.copyExt {
			c.copyIn = false
			c.out = wire.AppendReadyForQuery(c.out, c.inTx)
			return
		}
	}
	rest, ext := c.copyRest, c.copyExt
	c.copyIn, c.copyExt, c.copyRest = false, false, nil
	if !ext {
		if len(rest) == 0 {
			rest = nil
			c.out = wire.AppendReadyForQuery(c.out, c.inTx)
			return
		}
		c.statements(append([]string{rest[0]}, rest[1:]...))
	}
}

// Vacate is never asked for by the statements here.
func (m *simulation) Vacate(*Session, router.Vacating, uint64) {}
func (m *simulation) Occupy(*Session, bool)                    {}

// Refill is never due: nothing is served stale here.
func (m *simulation) Refill(s *Session, key, msgs []byte) {}
