package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/wire"
)

// The console is a database without a server. Its clients are few and what they ask for may take long, so each has a goroutine that
// blocks (and one more that reads), beside the shards. What commands mean is admin.Console's business; here is the protocol.

// The numbers that clients are told as their process ids are beyond those that processes of servers have. These are in notifications, where nobody must
// take another's for their own; and by them clients are known with --pool-mode session.
const (
	firstClientPID  = 1 << 24
	firstConsolePID = 1 << 30
)

// Limits of a console's client.
const (
	maxConsoles        = 100
	maxConsoleMessage  = 1 << 20
	maxConsolePrepared = 1000
	consoleWrite       = 30 * time.Second // how long a client may not take what it is sent
)

// console is a client of the console.
type console struct {
	srv    *Server
	admin  *admin.Console
	conn   net.Conn
	client admin.Client
	secret []byte
	info   consoleInfo

	out      *bufio.Writer
	scratch  []byte
	tx       byte
	skipping bool // after an error, up to Sync
	prepared map[string]*consoleStatement
	portals  map[string]*consolePortal

	mu struct {
		sync.Mutex
		cancel    context.CancelCauseFunc // ends the command that is running; nil: none is
		last      time.Time               // when the last command began
		statement int                     // how many are prepared
	}
	end context.CancelCauseFunc // ends the client
}

// consoleInfo is what SHOW CLIENTS tells of a console's client.
type consoleInfo struct {
	tls         string
	application string
	since       time.Time
}

// consoleStatement is a prepared statement.
type consoleStatement struct{ *admin.Statement } // nil: an empty one

// consolePortal is a statement that is bound, and its rows once it has been executed.
type consolePortal struct {
	statement consoleStatement
	formats   []int16
	ran       bool
	rows      [][]any
	sent      int
}

var (
	errConsoleCancel = errors.New("canceled by its client")
	errConsoleKilled = errors.New("killed")
)

// serveConsole runs a client of the console to its end.
func (s *Server) serveConsole(a *Admitted) {
	defer a.Conn.Close()
	c := &console{srv: s, admin: s.cfg.Console, conn: a.Conn, client: admin.Client{User: a.User}, tx: wire.TxIdle,
		prepared: map[string]*consoleStatement{}, portals: map[string]*consolePortal{}}
	c.info = consoleInfo{tls: a.TLS, since: time.Now()}
	for _, p := range a.Params {
		if p.Name == "application_name" {
			c.info.application = p.Value
		}
	}
	c.out = bufio.NewWriterSize(patientWriter{a.Conn}, 16<<10)
	c.secret = make([]byte, 4)
	if a.Protocol >= protocol32 {
		c.secret = make([]byte, 32)
	}
	rand.Read(c.secret)
	if c.admin.Right(a.User) == admin.NoRight {
		c.dismiss(wire.Fatal("28000", "user %q may not use the console", a.User).
			WithHint("Freshet's --admin-users and --stats-users say who may."))
		return
	}
	ctx, end := context.WithCancelCause(s.ctx)
	defer end(nil)
	c.end = end
	if err := s.addConsole(c); err != nil {
		c.dismiss(err)
		return
	}
	defer s.removeConsole(c)
	defer func() {
		if r := recover(); r != nil { // this client goes, and no other
			s.log.Error("a panic in the console", "panic", r, "stack", string(debug.Stack()))
			c.dismiss(wire.Fatal("XX000", "internal error").WithHint("Freshet's log says more."))
		}
	}()
	for _, p := range c.admin.Reported(a.User) {
		c.send(wire.AppendParameterStatus(c.scratch[:0], p[0], p[1]))
	}
	if c.info.application != "" {
		c.send(wire.AppendParameterStatus(c.scratch[:0], "application_name", c.info.application))
	}
	c.send(wire.AppendBackendKeyData(c.scratch[:0], c.client.PID, c.secret))
	c.ready()
	c.run(ctx, io.MultiReader(bytes.NewReader(a.Leftover), a.Conn))
}

// patientWriter gives each Write so long.
type patientWriter struct{ net.Conn }

func (w patientWriter) Write(p []byte) (int, error) {
	w.SetWriteDeadline(time.Now().Add(consoleWrite))
	return w.Conn.Write(p)
}

// addConsole enters a client into the books, and gives it a number.
func (s *Server) addConsole(c *console) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.consoles) >= maxConsoles {
		return wire.Fatal("53300", "sorry, too many clients of the console already").WithHint("There may be %d.", maxConsoles)
	}
	for c.client.PID = 0; c.client.PID == 0 || s.mu.consoles[c.client.PID] != nil; {
		c.client.PID = firstConsolePID + s.nextPID.Add(1)%firstConsolePID
	}
	s.mu.consoles[c.client.PID] = c
	return nil
}

func (s *Server) removeConsole(c *console) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.consoles, c.client.PID)
}

// consoleMessage is a message of the client's.
type consoleMessage struct {
	typ  byte
	body []byte
}

// run answers messages until the client goes, or has to.
func (c *console) run(ctx context.Context, r io.Reader) {
	messages := make(chan consoleMessage)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(messages)
		c.read(ctx, wire.NewReader(r), messages)
	})
	defer reading.Wait()
	defer c.conn.Close() // which ends the reading
	for {
		select {
		case <-ctx.Done():
			c.bye(context.Cause(ctx))
			return
		case m, ok := <-messages:
			if !ok {
				c.bye(context.Cause(ctx))
				return
			}
			if !c.message(ctx, m) || c.out.Flush() != nil {
				return
			}
		}
	}
}

// read passes on messages. That the client is gone is noticed while a command runs, and ends it.
func (c *console) read(ctx context.Context, r *wire.Reader, messages chan<- consoleMessage) {
	for {
		typ, body, err := r.Message(maxConsoleMessage)
		if err == nil && typ == wire.MsgTerminate {
			err = io.EOF
		}
		if err != nil {
			c.end(err)
			return
		}
		select {
		case messages <- consoleMessage{typ, bytes.Clone(body)}:
		case <-ctx.Done():
			return
		}
	}
}

// bye says why the client has to go, if it hasn't gone by itself.
func (c *console) bye(why error) {
	switch {
	case errors.Is(why, wire.ErrMessageLength):
		c.dismiss(wire.Fatal("08P01", "invalid message length").WithHint("A message to the console has at most %d bytes.", maxConsoleMessage))
	case errors.Is(why, errConsoleKilled), c.srv.ctx.Err() != nil:
		c.dismiss(wire.Fatal("57P01", "terminating connection due to administrator command"))
	}
}

// dismiss says the last words.
func (c *console) dismiss(err *wire.Error) {
	if c.out.Flush() == nil {
		dismiss(c.conn, err, false)
	}
}

func (c *console) send(msg []byte) {
	c.scratch = msg
	c.out.Write(msg) // an error is seen at Flush
}

func (c *console) ready() {
	if c.tx == wire.TxIdle {
		clear(c.portals)
	}
	c.send(wire.AppendReadyForQuery(c.scratch[:0], c.tx))
	c.out.Flush()
}

// fail tells the client of an error. text is what it is about, for its position.
func (c *console) fail(err error, text string) {
	if c.tx == wire.TxActive {
		c.tx = wire.TxFailed
	}
	c.send(asWireError(err, text).AppendTo(c.scratch[:0]))
}

func asWireError(err error, text string) *wire.Error {
	var own *admin.Error
	var pg *wire.Error
	switch {
	case errors.As(err, &own):
		e := wire.Errorf(own.Code, "%s", own.Message)
		e.Detail, e.Hint = own.Detail, own.Hint
		if own.At > 0 && own.At <= len(text)+1 {
			e.Position = fmt.Sprint(1 + len([]rune(text[:own.At-1])))
		}
		return e
	case errors.As(err, &pg):
		return pg.WithSeverity("ERROR")
	case errors.Is(err, errConsoleCancel):
		return wire.Errorf("57014", "canceling statement due to user request")
	}
	return wire.Errorf("XX000", "%s", admin.Redact(err.Error()))
}

// message answers one. False: the client has to go.
func (c *console) message(ctx context.Context, m consoleMessage) bool {
	if c.skipping && m.typ != wire.MsgSync {
		return true
	}
	var err error
	switch m.typ {
	case wire.MsgQuery:
		var text []byte
		if text, err = wire.DecodeQuery(m.body); err == nil {
			c.query(ctx, string(text))
			c.ready()
			return true
		}
	case wire.MsgSync:
		c.skipping = false
		c.ready()
		return true
	case wire.MsgFlush, wire.MsgCopyData, wire.MsgCopyDone, wire.MsgCopyFail:
		return true
	case wire.MsgParse, wire.MsgBind, wire.MsgDescribe, wire.MsgExecute, wire.MsgClose:
		text := ""
		if text, err = c.extended(ctx, m); err != nil {
			if errors.As(err, new(unreadable)) {
				break
			}
			c.fail(err, text)
			c.skipping = true
			return true
		}
		return true
	case wire.MsgFunctionCall:
		c.fail(wire.Errorf("0A000", "the console has no functions"), "")
		c.ready()
		return true
	default:
		err = wire.Fatal("08P01", "invalid frontend message type %d", m.typ)
	}
	if err != nil {
		c.dismiss(wire.Fatal("08P01", "%s", err))
		return false
	}
	return true
}

// query runs a text of the simple protocol, up to the first error.
func (c *console) query(ctx context.Context, text string) {
	list, err := c.admin.Parse(text)
	switch {
	case err != nil:
		c.fail(err, text)
		return
	case len(list) == 0:
		c.send(wire.AppendEmptyQueryResponse(c.scratch[:0]))
		return
	}
	for _, st := range list {
		result, err := c.execute(ctx, st)
		if err != nil {
			c.fail(err, text)
			return
		}
		if st.Columns != nil {
			c.send(wire.AppendRowDescription(c.scratch[:0], columns(st.Columns, nil)...))
			for _, row := range result.Rows {
				c.row(st.Columns, row, nil)
			}
		}
		c.complete(st, len(result.Rows))
	}
}

// execute runs a statement. Another one isn't run before it has ended.
func (c *console) execute(ctx context.Context, st *admin.Statement) (admin.Result, error) {
	if c.tx == wire.TxIdle && (st.Transaction == admin.TxSavepoint || st.Transaction == admin.TxRollbackTo) {
		return admin.Result{}, wire.Errorf("25P01", "savepoints can only be used in transaction blocks")
	}
	if c.tx == wire.TxFailed && st.Transaction != admin.TxCommit && st.Transaction != admin.TxRollback && st.Transaction != admin.TxRollbackTo {
		return admin.Result{}, wire.Errorf("25P02", "current transaction is aborted, commands ignored until end of transaction block")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.mu.cancel, c.mu.last = cancel, time.Now()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.mu.cancel = nil
		c.mu.Unlock()
	}()
	c.out.Flush() // it may take long
	result, err := c.admin.Run(ctx, st, c.client)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = context.Cause(ctx)
		}
		return result, err
	}
	if st.Forgets {
		clear(c.prepared)
	}
	if st.Deallocates != "" {
		if c.prepared[st.Deallocates] == nil {
			return result, wire.Errorf("26000", "prepared statement %q does not exist", st.Deallocates)
		}
		delete(c.prepared, st.Deallocates)
	}
	for _, notice := range result.Notices {
		c.send(wire.AppendNoticeResponse(c.scratch[:0], &wire.Error{Severity: "NOTICE", Code: "00000", Message: notice}))
	}
	return result, nil
}

// complete sends CommandComplete.
func (c *console) complete(st *admin.Statement, rows int) {
	tag := st.Tag
	if st.Counts {
		tag = fmt.Sprintf("%s %d", tag, rows)
	}
	switch st.Transaction {
	case admin.TxBegin, admin.TxRollbackTo:
		c.tx = wire.TxActive
	case admin.TxCommit, admin.TxRollback:
		if c.tx == wire.TxFailed {
			tag = "ROLLBACK"
		}
		c.tx = wire.TxIdle
	}
	c.send(wire.AppendCommandComplete(c.scratch[:0], tag))
}

// cancel ends the command that is running.
func (c *console) cancelCommand(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.cancel != nil {
		c.mu.cancel(why)
	}
}
