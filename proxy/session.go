package proxy

import (
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// Env is what a session asks of whoever runs it. Its methods are called on the session's shard, never
// block, and answer through the session's events.
type Env interface {
	// Now is the present instant (consistency.Now). Turn is the instant at which the shard last woke up, by the same clock: it costs next to
	// nothing.
	Now() int64
	Turn() int64
	// ToClient queues bytes for the client; it copies p.
	ToClient(p []byte)
	// ClientBuffered says how many bytes the client hasn't taken yet.
	ClientBuffered() int
	// PauseClient stops ClientData until ResumeClient.
	PauseClient()
	ResumeClient()
	// CloseClient closes the connection to the client after what is queued has been sent. No event of the client follows.
	CloseClient()
	// Acquire asks for a connection to the node, as the session's user. It returns one, or nil: Granted follows.
	Acquire(s *Session, n *topology.Node) *backend.Conn
	// Leave takes back an Acquire: Granted won't follow.
	Leave(s *Session)
	// Plan asks for the plan of a text; Planned follows.
	Plan(s *Session, req PlanRequest)
	// AskPosition asks the position clock, after a write has ended; the answer goes to sess.Learned.
	AskPosition(sess *consistency.Session, ticket uint64)
	// AskNow asks the position clock for a read; Positioned follows.
	AskNow(s *Session, number uint64)
	// AwaitSource leads to CaughtUp when the source has reached lsn or was reset; AwaitReplica, when any replica has that may
	// get there soon: it says whether there is one. StopAwaiting ends both.
	AwaitSource(s *Session, src *consistency.Source, lsn consistency.LSN, number uint64)
	AwaitReplica(s *Session, lsn consistency.LSN, number uint64) bool
	// AwaitUntil has the source asked where it is (ask; or somebody does already), and leads to CaughtUp when src.Until knows about the instant at. False: it can't
	// be asked.
	AwaitUntil(s *Session, src *consistency.Source, at int64, ask bool, number uint64) bool
	// AwaitResume leads to Resumed with the same number when the session's database isn't paused any more; StopAwaiting ends it, too.
	AwaitResume(s *Session, number uint64)
	StopAwaiting(s *Session)
	// ConfirmVisible asks whether the primary shows all that replicas have shown; Confirmed follows.
	ConfirmVisible(s *Session, number uint64)
	// Waker returns a function that may be called once, on any goroutine, and leads to FlightOver with the same number.
	Waker(s *Session, number uint64) func()
	// CancelWaker returns a function that may be called once, on any goroutine, and leads to CancelOver.
	CancelWaker(s *Session) func()
	// ExpireIn leads to Expired after d; 0: not at all. A later call takes the place of an earlier one.
	ExpireIn(s *Session, d time.Duration)
	// WakeIn leads to Woken with the same number after d.
	WakeIn(s *Session, d time.Duration, number uint64)
	// Refill has the unit in hand run once more, for the cache alone: msgs are its messages, made to need nothing of the session
	// but its settings. Shared.refills is told when it is over.
	Refill(s *Session, key, msgs []byte)
	// Judge plans statements again, by the catalog as it is known now; Judged follows.
	Judge(s *Session, ticket uint64, ran []PlanRequest)
	// Vacate makes a database free for the unit in hand; Vacated follows, and Occupy is called when the unit is over.
	Vacate(s *Session, v router.Vacating, number uint64)
	Occupy(s *Session, succeeded bool)
	// Ended says that the session is over and holds nothing any more.
	Ended(s *Session)
}

// phase is where a session stands with the unit in hand. A unit is a Query or FunctionCall message, or a run of
// extended-protocol messages up to Sync.
type phase uint8

const (
	phaseIdle       phase = iota // no unit in hand
	phasePaused                  // the database is paused
	phasePlanning                // a plan is being made
	phaseFlight                  // somebody else asks the same question
	phaseAwaiting                // there is no server that could answer
	phaseAsking                  // where is the primary?
	phaseCatchingUp              // a replica or the cache is to catch up
	phaseConfirming              // the primary may not show yet what a replica has shown
	phaseAcquiring               // a server connection is awaited
	phaseVacating                // Freshet gives up what it holds in a database that the unit needs for itself
	phaseSettling                // the server connection is being brought to the session's settings
	phaseChecking                // the server is asked whether the session is still bound to it
	phaseRunning                 // the whole unit has been sent, its replies are coming
	phaseStreaming               // an extended unit is passed on as it comes; its Sync hasn't come yet
	phaseCopyIn                  // the client's copy data is passed on
	phaseSkipping                // after an error of ours: everything up to Sync is dropped
	phaseCancelling              // a request to cancel of ours is still on its way to the server
	phaseOrphan                  // the client is gone; the rest of the replies is read so that the connection can be kept
	phaseEnded
)

// Limits of what a session holds in memory.
const (
	maxHeld         = 256 << 10 // an extended unit larger than this is streamed
	maxUnread       = 1 << 20   // of the client's bytes while a unit runs
	clientHighWater = 1 << 20   // of unsent bytes to the client, beyond which the server isn't read
	serverHighWater = 1 << 20   // of unsent bytes to the server, beyond which the client isn't read
	maxAttempts     = 3         // of a read that had sent nothing
	maxStale        = 100       // more of them, on connections from the pool that turn out to be dead
	maxKept         = 64 << 10  // of a unit's bytes, once they have been sent and won't be again
)

// Session is a client's session: the state machine between bytes in and bytes out. It has no socket, no
// clock and no goroutine; it is driven by its events (the exported methods), on one goroutine at a time, and
// acts through Env, the server connection it was granted, and the shared parts in Shared.
//
// Memory: bytes that come with an event are valid during the event only.
type Session struct {
	env    Env
	shared *Shared
	local  *ShardLocal
	db     *Database
	user   string
	pid    uint32          // by which the client knows its session
	sender *backend.Sender // of the server connection in hand, once the session may have notified over it

	phase phase
	in    []byte // bytes of the client that wait for their turn
	tx    byte   // transaction status that the client was last told
	open  bool   // part of an extended unit has been answered, its Sync hasn't come

	held              heldTx
	partReads         bool // a part of the unit in hand, up to a Flush, has read something
	txDefaults        txDefaults
	serverTx          byte        // transaction status that the server connection in hand was last in
	onReplica         bool        // the transaction is on a replica
	poisoned          bool        // the transaction has failed without the server connection knowing
	lost              *wire.Error // why the transaction failed, which the client hasn't been told
	readOnlyAtPrimary bool        // a READ ONLY transaction has needed the primary before
	ghost             ghost       // the unnamed portal as it would be in the transaction that is held back

	cons   *consistency.Session
	ownKey string // session_key in force; "" for the connection itself
	wrote  bool   // consistency was told that a write began, and not yet that it ended

	base       *settings // from the startup packet
	set        *settings // in force
	defaults   options   // of freshet.*, as RESET makes them
	opts       options   // freshet.* in force
	txSettings transactionSettings
	loginRole  string             // what role is by default, if not none
	reported   []wire.ParamStatus // what a server said at login with base
	told       []wire.ParamStatus // what the client was told last
	toldOwn    bool               // told isn't shared with reported any more
	keyPrefix  []byte             // of cache keys: what the session contributes; nil: to be worked out

	opaque     bool // the lexer's rules don't hold in this session: standard_conforming_strings is off
	opaqueText bool // … nor for texts beyond ASCII: client_encoding isn't UTF8
	ctx        router.Context
	ctxID      router.Fingerprint
	ctxGen     uint64
	ctxOK      bool

	// See session_bind.go.
	boundLasting bool // … for something that a server can't be asked about
	checkDue     bool // it may be gone: the server is to be asked at the next quiet moment
	stillBound   bool // what the server has said

	home  *backend.Conn // with --pool-mode session, the client's own, see client_home.go; nil: none
	bound string        // why the session keeps its server connection; "": it doesn't

	ddl       ddlWindow // see session_ddl.go
	ddlTicket uint64    // of the last Judge of all windows

	// See session_sequence.go.
	seqUser    bool         // relies on the sequence state of earlier statements
	seqVersion uint64       // counts the connections that have had the session's sequence state
	seqHabit   *atomic.Bool // sessions of this user do that

	scopeOf   *settings // for which scopeText was made: see scope
	scopeText string

	parameters []byte // the last ParameterDescription
	stashed    bool   // … which the client hasn't got yet

	// See session_promise.go.
	promiseError  []byte     // an ErrorResponse: a statement isn't what its client was told any more
	promiseBroken *statement // … that is prepared on the server, as something else
	brokenBy      *statement // the statement

	named   map[string]*statement
	unnamed *statement
	watched bool     // pg_prepared_statements was looked at
	overlay []named  // what names mean once the unit in hand has been executed
	portals []portal // of this transaction
	// portalsBefore are those before the unit in hand was read.
	portalsBefore []portal

	conn          *backend.Conn
	node          *topology.Node
	q             []expect // replies that are due, in order; qHead is the next
	qHead         int
	part          []byte // beginning of a server message that isn't complete
	body          int    // bytes still to come of a server message that is passed through
	passing       bool   // … and whether the client gets them
	passKind      passKind
	inBody        int  // bytes still to come of a copy data message of the client
	inBodyDropped bool // … of which the server doesn't get the rest

	unit unit
	fill *cache.Fill

	stepNow      int  // the step that is being queued
	unitOver     bool // the last ReadyForQuery of the unit has come
	resume       bool // the client's bytes should be looked at again at the end of this event
	settleFailed bool
	settleError  *wire.Error
	clientPaused bool
	serverPaused bool
	borrowed     int  // bytes of Shared.elastic
	draining     bool // end at the next quiet moment
	cancelled    bool
	cancelling   int // requests to cancel of ours that are on their way

	limit     limit // see session_limits.go
	limitAnew bool  // another unit has begun meanwhile

	refilling bool // nobody's: it fills the cache

	restUntil int64 // no reads wait for a source to catch up before
	restFor   int64 // how long that was last, less what has gone well since
	settling  int   // reads that are still to ask how far their server is, see settleSoon

	last       lastAnswer
	totals     *totals // of its database, on its shard
	waitsSince int64   // for a server connection, if it does
	txBegan    int64   // when the transaction began that the client is in; 0: it isn't in one
}

// unit is the work in hand.
type unit struct {
	number      uint64 // tells late events of an earlier unit apart
	buf         []byte // the client's messages, kept while they may be needed again
	simple      bool   // Query or FunctionCall
	steps       []step // of an extended unit
	hasSync     bool   // its Sync has come
	flush       bool   // it is the part of one up to a Flush, that can be answered as if there were a Sync
	own         bool   // it is answered by Freshet alone
	leaves      bool   // it is answered outside of the transaction that is held back
	began       bool   // what begins the transaction has been sent with it
	executes    int    // Execute messages in it
	readAgain   bool   // its messages have been, see Session.readAgain
	unknown     bool   // … and one of a portal that nothing is known about
	streaming   bool   // it is passed on as it comes
	begun       bool   // something of it has been sent
	skipping    bool   // the server skips to Sync
	scan        router.Scan
	plan        *router.Plan // nil when there are several
	hint        router.Hint
	writes      bool   // counts as a write
	primary     bool   // only the primary may answer
	binds       string // the session has to be bound, because …
	provisional bool   // … but only if the statement succeeds
	effects     []effect
	needs       []need        // see session_needs.go
	needed      int           // so many of them are on the server
	lacking     []lackingNeed // those that can't be had
	undo        bool          // the last of them has failed in a transaction
	settings    *settings     // in force when it began
	unsettled   bool          // it runs without the session's settings, since it does away with those that can't be made
	reported    []string      // settings whose new values the server has reported
	completed   int           // statements of the string that have succeeded
	rewriting   *rewriting
	discarded   bool // DISCARD ALL has succeeded
	doubtful    bool // the server connection isn\'t to be used again

	read        bool       // may be repeated as long as nothing was sent to the client
	verified    bool       // its statements are what the client was told, on this server connection
	broken      *statement // … but for this one
	brokenError *wire.Error
	sent        bool // the client has got something of the answer
	failed      bool // the server has reported an error
	retrying    bool // the rest of the replies is dropped, and the unit is run again
	attempts    int
	stale       int   // of them, on connections that had been in the pool
	expired     bool  // it has taken too long, and is being cancelled
	unsure      bool  // … but the server has carried it out and may not have waited for standbys
	fatal       bool  // the server has said why it closes the connection
	giveUp      int64 // when waiting for a server ends
	avoid       *topology.Node
	reason      reason
	detail      string
	copyIn      bool // the server takes copy data
	copyAwaited bool // copy data waits until it is known whether the server takes it
	copyOver    bool // the client has said CopyDone or CopyFail
	vacates     bool // see session_vacate.go

	sight     sight
	ttl       time.Duration // the answer is cached for a time, though not all of it is watched; 0: only if it is
	arrived   int64         // strong: the unit had arrived by then
	asked     bool          // strong: the primary has been asked where it is
	floor     consistency.LSN
	waitBy    int64 // when waiting for a source to catch up ends
	waitsOver bool
	settled   bool  // it was to be found out what the session has seen
	learned   bool  // … and where its last write ended
	showBy    int64 // when waiting for the primary to show what replicas have shown ends

	key        []byte // of the cache; empty: not looked up
	promised   bool   // … and it has in it what the client was told of the statement before
	filling    bool   // the answer is being captured
	probe      consistency.Probe
	probed     bool
	probeApart bool // the probe has a transaction of its own
	flight     *cache.Flight
	leading    bool
	waited     bool // for somebody else's flight
	joins      int
	open       bool // the gate was open when it joined
	alone      bool // no more flights for this one

	start   int64 // when its bytes had come
	looked  int64 // when it was looked for in the cache
	fp      router.Fingerprint
	tallies []*tally // of what it executes
	counted bool
	miss    missReason // why the cache doesn't answer it
	bytes   int        // sent to the client
}

// portal remembers which statement a portal of the running transaction belongs to.
type portal struct {
	name string
	st   *statement
	args []router.Assignment // what it will set
	done bool                // it has been executed, by Freshet itself
}

// expect is a reply that is due from the server, or one of ours that has to wait for its turn (HAZARD 1).
type expect struct {
	kind         expectKind
	swallow      bool         // ours: the client doesn't get it
	begins       bool         // it belongs to the BEGIN that was held back
	poison       bool         // it makes a transaction fail that has failed already
	checks       bool         // it asks whether the session is still bound
	settles      bool         // it makes the session's settings, without which the unit must not run
	own          bool         // … but it is part of the unit: if it fails, so does the unit
	after        bool         // of the question after the query
	dropsUnnamed bool         // exQuery: it isn't the unit's beginning, so that what is in front of it may make an unnamed statement
	quiet        bool         // exQuery: its ReadyForQuery is kept for the Sync that follows
	prepared     uint64       // exParse: the number of what will then be prepared on the server
	st           *statement   // exParse, exLocal, exDescribeStatement: the statement
	promises     bool         // exDescribeStatement: what the server says is what the client's Parse amounts to
	needs        bool         // of fulfilNeeds
	made         bool         // exDescribeStatement: what has just been made by PREPARE
	makes        *statement   // exExecute: what PREPARE makes
	verifies     bool         // exParse, exDescribeStatement: whether st is still what its client was told
	name         string       // … and what the client calls it; of one of our own, its name on the server
	nameHash     uint64       // exBind: of what the client calls the statement
	told         bool         // exDescribeStatement: the client has got the parameters
	evicts       uint64       // exClose: the number of the statement that is then not prepared on the server any more
	registers    bool         // … from then on
	closes       bool         // exLocal: the client closes the statement name
	sync         bool         // exLocal: ReadyForQuery
	local        []byte       // exLocal: the bytes
	execute      *router.Plan // exLocal: executes one of our own statements
	plan         *router.Plan // exExecute: of what is executed
	args         []router.Assignment
	step         int         // exBind: which of the unit's steps
	replace      *wire.Error // for the error that is expected
}

type expectKind uint8

const (
	exLocal expectKind = iota
	exParse
	exBind
	exClose
	exDescribeStatement
	exDescribePortal
	exExecute
	exProbe // Execute of the probe
	exQuery // all replies up to ReadyForQuery
	exSync
)

// effect is what a statement does to the session once its unit has succeeded.
type effect struct {
	plan *router.Plan
}

// NewSession makes the session of an admitted client. The startup settings of params are in force; reported is what a server said
// about settings when it was logged in to with them.
func NewSession(env Env, shared *Shared, local *ShardLocal, db *Database, user string, params []wire.Param, reported []wire.ParamStatus) (*Session, error) {
	s := &Session{env: env, shared: shared, local: local, db: db, user: user, tx: wire.TxIdle, serverTx: wire.TxIdle}
	s.seqHabit = db.sequenceHabit(user)
	s.cons = shared.NewConsistency()
	s.totals = local.totalsOf(db)
	s.defaults = shared.Defaults
	s.reported, s.told = reported, reported
	if snap := db.Catalog(); snap != nil {
		s.loginRole, _ = snap.DefaultSetting(user, "role")
		// ALTER ROLE … SET, ALTER DATABASE … SET.
		for _, name := range optionNames {
			if v, ok := snap.DefaultSetting(user, name); ok {
				if o, err := s.defaults.with(name, v); err == nil {
					s.defaults = o
				}
			}
		}
	}
	var list []trackedSetting
	for _, p := range params {
		if isFreshet(p.Name) {
			o, err := s.defaults.with(p.Name, p.Value)
			if err != nil {
				return nil, err
			}
			s.defaults = o
			continue
		}
		value := p.Value
		if p.Name == dateStyle {
			value = s.dateStyleOf(nil)
		}
		list = append(list, trackedSetting{name: p.Name, value: value})
	}
	s.opts = s.defaults
	s.base = newSettings(list)
	s.set = s.base
	s.deriveTx()
	for _, p := range reported {
		s.tell(p.Name, p.Value)
	}
	s.applyKey()
	return s, nil
}

// Bound returns why the session is bound to its server connection; "" if it isn't.
func (s *Session) Bound() string { return s.bound }

// LowerFloor brings the session's floor back to lsn.
func (s *Session) LowerFloor(lsn consistency.LSN) { s.cons.LowerFloor(lsn) }

// Idle says whether the session is between two units and outside of a transaction.
func (s *Session) Idle() bool {
	return s.phase == phaseIdle && s.tx == wire.TxIdle && !s.open && len(s.in) == 0
}

// ClientData brings bytes of the client.
func (s *Session) ClientData(p []byte) {
	if s.phase == phaseEnded || s.phase == phaseOrphan {
		return
	}
	s.totals.received += uint64(len(p))
	if len(s.in) > 0 {
		s.in = append(s.in, p...)
		s.pump()
		return
	}
	n := s.consume(p)
	if n < len(p) && s.phase != phaseEnded && s.phase != phaseOrphan {
		s.in = append(s.in[:0], p[n:]...)
		s.holdBackClient()
	}
	s.watch()
}

// pump goes on with the client's bytes that wait.
func (s *Session) pump() {
	if s.phase == phaseEnded || s.phase == phaseOrphan {
		return
	}
	if len(s.in) > 0 {
		in := s.in
		s.in = nil // consume may look at Idle, and nothing else may touch it
		n := s.consume(in)
		if s.phase == phaseEnded || s.phase == phaseOrphan {
			return
		}
		switch {
		case n == len(in):
			if cap(in) <= 16<<10 {
				s.in = in[:0]
			}
		default:
			s.in = in[:copy(in, in[n:])]
		}
	}
	s.holdBackClient()
	if s.draining && s.Idle() {
		s.shutdown()
	}
	s.watch()
}

// holdBackClient decides whether the client is read.
func (s *Session) holdBackClient() {
	pause := false
	switch s.phase {
	case phaseIdle:
		// A whole message that waits, waits for the client to take what it has been sent.
		pause = len(s.in) > maxUnread && s.env.ClientBuffered() > s.mayBuffer()
	case phaseSkipping:
	case phaseStreaming, phaseCopyIn:
		pause = s.conn != nil && s.conn.Buffered() > serverHighWater
	default:
		pause = len(s.in) > maxUnread
	}
	if pause != s.clientPaused {
		s.clientPaused = pause
		if pause {
			s.env.PauseClient()
			s.holdBackServer()
		} else {
			s.env.ResumeClient()
		}
	}
}

// ClientDrained says that the client has taken most of what was queued.
func (s *Session) ClientDrained() {
	s.giveBack()
	if s.serverPaused {
		s.serverPaused = false
		if s.conn != nil {
			s.conn.ResumeRead()
		}
	}
	if s.phase == phaseIdle {
		s.pump()
	}
}

// ServerDrained says that the server has taken most of what was written.
func (s *Session) ServerDrained() { s.pump() }

// consume takes as many of the client's messages as can be taken now, and returns how many bytes that was.
func (s *Session) consume(p []byte) int {
	done := 0
	for {
		rest := p[done:]
		var n int
		switch {
		case len(rest) == 0:
			return done
		case s.inBody > 0:
			n = s.copyRest(rest)
			if n == 0 {
				return done
			}
			done += n
			continue
		}
		switch s.phase {
		case phaseIdle:
			if s.env.ClientBuffered() > clientHighWater && s.env.ClientBuffered() > s.mayBuffer() {
				return done // a client that asks and asks and never reads
			}
			n = s.nextUnit(rest)
		case phaseStreaming:
			n = s.streamNext(rest)
		case phaseCopyIn:
			n = s.copyNext(rest)
		case phaseSkipping:
			n = s.skipNext(rest)
		default:
			return done
		}
		if n == 0 {
			return done
		}
		done += n
	}
}

// frame looks at the message that p begins with. It returns 0 when more bytes are needed, also for one
// that is against the protocol: the session has ended then.
func (s *Session) frame(p []byte) (typ byte, n int) {
	typ, n, err := wire.Frame(p)
	if err == nil && len(p) > 0 {
		limit := wire.FrontendLimit(p[0])
		switch {
		case limit == 0:
			err = wire.Fatal("08P01", "invalid frontend message type %d", p[0])
		case n-1 > limit:
			err = wire.Fatal("08P01", "invalid message length")
		}
	} else if err != nil {
		err = wire.Fatal("08P01", "invalid message length")
	}
	if err != nil {
		s.fatal(err.(*wire.Error))
		return 0, 0
	}
	if n == 0 || n > len(p) {
		return typ, 0
	}
	return typ, n
}

// nextUnit takes the next unit, as far as it is there.
func (s *Session) nextUnit(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	switch p[0] {
	case wire.MsgQuery:
		if isLarge(p, wire.MsgQuery, maxQuery) {
			return s.largeQuery(p)
		}
		_, n := s.frame(p)
		if n == 0 {
			return 0
		}
		if n < wire.HeaderLen+1 || p[n-1] != 0 {
			s.fatal(wire.Fatal("08P01", "invalid message format"))
			return 0
		}
		s.begin()
		s.unit.simple = true
		s.unnamed = nil // as Postgres does
		s.ghost.st, s.held.portal = nil, false
		s.simple(p[:n])
		return n
	case wire.MsgFunctionCall:
		_, n := s.frame(p)
		if n == 0 {
			return 0
		}
		s.begin()
		s.unit.simple = true
		s.unit.plan = functionCallPlan
		s.unit.writes, s.unit.primary = true, true
		s.hold(p[:n])
		s.run()
		return n
	case wire.MsgTerminate:
		s.ClientClosed(nil)
		s.env.CloseClient()
		return 0
	case wire.MsgCopyData, wire.MsgCopyDone, wire.MsgCopyFail:
		// What is left of a COPY that failed; Postgres drops it too.
		_, n := s.frame(p)
		return n
	}
	return s.extendedUnit(p)
}

// begin starts a unit.
func (s *Session) begin() {
	s.endOverlay()
	if s.tx == wire.TxIdle && !s.open {
		s.portals = s.portals[:0]
		s.ghost.st = nil
	}
	u := &s.unit
	buf, steps, effects, key, tallies, number := u.buf, u.steps, u.effects, u.key, u.tallies, u.number
	if cap(buf) > 64<<10 {
		buf = nil
	}
	if cap(steps) > 64 {
		steps = nil
	}
	*u = unit{buf: buf[:0], steps: steps[:0], effects: effects[:0], key: key[:0], tallies: tallies[:0], number: number + 1, settings: s.set,
		start: s.env.Turn()}
	s.cancelled = false
	s.limitAnew = true
	if s.home != nil && s.bound == "" && !s.home.Current() {
		// As in Postgres it goes on by the old ones, of which plans and cache don't know.
		s.bind("the defaults of its role or database have changed")
	}
}

// hold keeps the unit's bytes beyond the event.
func (s *Session) hold(p []byte) {
	if len(s.unit.buf) == 0 {
		s.unit.buf = append(s.unit.buf, p...)
	}
}

// ready ends a unit that was answered without a server.
func (s *Session) ready() {
	if s.tx == wire.TxIdle {
		s.settingsEnd(!s.unit.failed)
	}
	s.countTx(s.unit.looked)
	s.local.scratch = wire.AppendReadyForQuery(s.local.scratch[:0], s.tx)
	s.env.ToClient(s.local.scratch)
	s.phase = phaseIdle
	s.open, s.partReads = false, false
}

// answered ends a unit, or the part of one, that was answered without a server.
func (s *Session) answered() {
	if s.unit.flush {
		s.phase = phaseIdle
		s.open = true
		return
	}
	s.ready()
}

// fail ends the unit with an error of ours that happened before anything of it was done.
func (s *Session) fail(err *wire.Error) { s.failWith(err.AppendTo(s.local.scratch[:0])) }

// failWith is fail with an ErrorResponse.
func (s *Session) failWith(msg []byte) {
	s.endFlight()
	s.occupy(false)
	s.last = lastAnswer{source: sourceNone, reason: reasonError}
	s.count(sourceNone, s.env.Turn())
	s.env.ToClient(msg)
	s.failTx()
	if s.unit.simple || s.unit.hasSync {
		s.ready()
		return
	}
	s.phase = phaseSkipping
}

// skipNext drops messages up to Sync.
func (s *Session) skipNext(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	typ, n := s.frame(p)
	if n == 0 {
		return 0
	}
	switch typ {
	case wire.MsgTerminate:
		s.ClientClosed(nil)
		s.env.CloseClient()
		return 0
	case wire.MsgSync:
		s.ready()
	}
	return n
}

// fatal tells the client why its connection ends, and ends it.
func (s *Session) fatal(err *wire.Error) {
	if s.phase == phaseEnded {
		return
	}
	if s.body == 0 || !s.passing { // else it would be taken for a part of a row
		s.env.ToClient(err.AppendTo(nil))
	}
	s.ClientClosed(nil)
	s.env.CloseClient()
}

// shutdown ends an idle session because Freshet stops.
func (s *Session) shutdown() {
	s.fatal(wire.Fatal("57P01", "terminating connection due to administrator command"))
}

// Drain makes the session end at its next quiet moment, which may be now.
func (s *Session) Drain() {
	s.draining = true
	if s.Idle() || s.phase == phasePaused && s.tx == wire.TxIdle {
		s.shutdown()
	}
}

// Kill ends the session at once, with a reason for the client.
func (s *Session) Kill(err *wire.Error) { s.fatal(err) }

// Cancel does what a CancelRequest of the session's key asks for. done is called, from any goroutine, when that is done: what the
// client sends afterwards isn't hit by it.
func (s *Session) Cancel(done func()) {
	if s.conn != nil && s.phase != phaseOrphan && (s.onServer() || s.plansInStream()) {
		s.cancelled = true
		s.conn.Cancel(done)
		return
	}
	switch s.phase {
	case phasePaused, phaseAcquiring, phaseAwaiting, phaseAsking, phaseCatchingUp, phaseConfirming, phaseFlight, phasePlanning, phaseVacating:
		s.giveUpWaiting(wire.Errorf("57014", "canceling statement due to user request"))
	}
	done()
}

var functionCallPlan = &router.Plan{Kind: router.KindUtility, Writes: true, OnPrimary: true, Reason: "a function call message"}

// endWrite tells consistency that a write is over, whatever came of it.
func (s *Session) endWrite() {
	if !s.wrote {
		return
	}
	s.wrote = false
	ticket := s.cons.WriteEnded(s.env.Now())
	s.env.AskPosition(s.cons, ticket)
}

// endOverlay forgets what names were to mean in the unit: what came true has been registered.
func (s *Session) endOverlay() {
	for i := range s.overlay {
		s.shared.Statements.release(s.overlay[i].st)
		s.overlay[i] = named{}
	}
	s.overlay = s.overlay[:0]
}

func (s *Session) overlayName(st *statement) string {
	for i := range s.overlay {
		if s.overlay[i].st == st {
			return s.overlay[i].name
		}
	}
	return ""
}
