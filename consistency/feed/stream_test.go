package feed

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/freshet/freshet/consistency"
)

// walsender is the other end of a stream, played by the test.
type walsender struct {
	*testing.T
	conn  net.Conn
	table *consistency.Table
	ended chan error
}

func newWalsender(t *testing.T) *walsender {
	ours, theirs := net.Pipe()
	table := consistency.NewTable(16)
	table.Start(consistency.Start{From: 1000, NextXID: 100, Timeline: 1})
	s := &stream{conn: theirs, frontend: pgproto3.NewFrontend(theirs, theirs), table: table, decoder: newDecoder(table), commits: new(atomic.Uint64)}
	w := &walsender{T: t, conn: ours, table: table, ended: make(chan error, 1)}
	go func() { w.ended <- s.run(t.Context()) }()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return w
}

func (w *walsender) send(message []byte) {
	w.Helper()
	b := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(message)))
	_ = w.conn.SetDeadline(time.Now().Add(within))
	if _, err := w.conn.Write(append(b, message...)); err != nil {
		w.Fatal(err)
	}
}

// data sends a message of pgoutput. The positions that come with it say where it is in the WAL, not what has been applied.
func (w *walsender) data(message []byte) {
	w.Helper()
	header := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{'w'}, 9000), 9000)
	w.send(append(append(header, make([]byte, 8)...), message...))
}

func (w *walsender) keepalive(at consistency.LSN, reply byte) {
	w.send(append(append(binary.BigEndian.AppendUint64([]byte{'k'}, uint64(at)), make([]byte, 8)...), reply))
}

// status reads what the stream reports, and checks its form.
func (w *walsender) status() consistency.LSN {
	w.Helper()
	var b [39]byte
	_ = w.conn.SetDeadline(time.Now().Add(within))
	if _, err := io.ReadFull(w.conn, b[:]); err != nil {
		w.Fatal(err)
	}
	flushed := binary.BigEndian.Uint64(b[14:])
	sent := postgresEpoch.Add(time.Duration(binary.BigEndian.Uint64(b[30:])) * time.Microsecond)
	if b[0] != 'd' || binary.BigEndian.Uint32(b[1:]) != 38 || b[5] != 'r' || time.Since(sent).Abs() > time.Minute || b[38] != 0 {
		w.Fatalf("status %x", b)
	}
	return consistency.LSN(flushed)
}

func (w *walsender) end() error {
	select {
	case err := <-w.ended:
		return err
	case <-time.After(within):
		w.Fatal("it goes on")
		return nil
	}
}

func TestStreamTellsTheServerAtOnceHowFarItIs(t *testing.T) {
	w := newWalsender(t)
	w.keepalive(1100, 0)
	if got := w.status(); got != 1100 {
		t.Errorf("status %s", got)
	}
	w.keepalive(1100, 1)
	if got := w.status(); got != 1100 {
		t.Errorf("status %s, demanded", got)
	}
	w.data(begin(100))
	w.data(change('I', 7))
	// Not while a transaction is under way: the commit that ends there has not been applied.
	w.keepalive(1200, 1)
	if got := w.status(); got != 1100 {
		t.Errorf("status %s within a transaction", got)
	}
	w.data(commit(1200))
	w.keepalive(1300, 1)
	for got := w.status(); got != 1300; got = w.status() { // one more may have been due
		if got != 1200 {
			t.Fatalf("status %s", got)
		}
	}
	if w.table.Relation(7).Seq() != w.table.Applied() || w.table.Position() != 1300 {
		t.Errorf("at %s, or not stamped", w.table.Position())
	}
}

func TestStreamEndsAtWhatItDoesNotUnderstand(t *testing.T) {
	for name, message := range map[string][]byte{
		"empty": {}, "unknown": {'x'}, "short data": append([]byte{'w'}, make([]byte, 23)...),
		"short keepalive": append([]byte{'k'}, make([]byte, 16)...),
	} {
		w := newWalsender(t)
		w.send(message)
		if err := w.end(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w := newWalsender(t)
	_ = w.conn.Close()
	if err := w.end(); err == nil {
		t.Error("no error at the connection's end")
	}
}
