package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// hugeSize is how many MiB a test of huge things has to do with: few, or as many as $FRESHET_HUGE says.
func hugeSize(t *testing.T, few int) int {
	if v := os.Getenv("FRESHET_HUGE"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return few
}

// counting reads a server's messages and forgets them, also large ones piece by piece.
type counting struct {
	conn  net.Conn
	buf   []byte
	bytes int
}

// readies reads until n ReadyForQuery have come.
func (c *counting) readies(t testing.TB, n int) {
	t.Helper()
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(c.buf), c.conn), 64<<10)
	for n > 0 {
		head, err := r.Peek(wire.HeaderLen)
		if err != nil {
			t.Fatalf("%d ReadyForQuery are missing: %v", n, err)
		}
		typ, length, err := wire.Frame(head)
		if err != nil {
			t.Fatal(err)
		}
		switch typ {
		case wire.MsgErrorResponse:
			msg := make([]byte, length)
			io.ReadFull(r, msg)
			t.Fatalf("error %s: %s", wire.ErrorField(wire.Body(msg), 'C'), wire.ErrorField(wire.Body(msg), 'M'))
		case wire.MsgReadyForQuery:
			n--
		}
		if _, err := r.Discard(length); err != nil {
			t.Fatal(err)
		}
		c.bytes += length
	}
	c.buf, _ = r.Peek(r.Buffered())
	c.buf = bytes.Clone(c.buf)
}

// HAZARD 16: a client may send all of a long pipeline before it reads. Both directions have to move for that: what the server answers
// must be taken from it while the client isn't reading, or it stops reading, too.
func TestHazard16APipelineIsSentBeforeAnythingIsRead(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	for _, kind := range []string{"a Sync each", "one Sync", "in a transaction", "Query messages", "answered by Freshet"} {
		t.Run(kind, func(t *testing.T) {
			conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
			defer conn.conn.Close()
			size := hugeSize(t, 30)
			conn.conn.SetDeadline(time.Now().Add(time.Minute + time.Duration(size)*time.Second))
			var unit []byte
			units, readies := size/3*500, 1
			big := bytes.Repeat([]byte("x"), 6<<10)
			unit = wire.AppendParse(nil, "", "SELECT $1::text")
			unit = wire.AppendBind(unit, "", "", nil, [][]byte{big}, nil)
			unit = wire.AppendExecute(unit, "", 0)
			var first, last []byte
			switch kind {
			case "a Sync each":
				unit = wire.AppendSync(unit)
				readies = units
			case "one Sync":
				last = wire.AppendSync(nil)
			case "in a transaction":
				unit = wire.AppendSync(unit)
				first, last = wire.AppendQuery(nil, "BEGIN; UPDATE k SET v = v"), wire.AppendQuery(nil, "COMMIT")
				readies = units + 2
			case "Query messages":
				unit = wire.AppendQuery(nil, "SELECT '"+string(big)+"'")
				readies = units
			case "answered by Freshet":
				unit = wire.AppendQuery(nil, "SHOW freshet.source")
				units = 100_000
				readies = units
			}
			sent := 0
			write := func(p []byte) {
				n, err := conn.conn.Write(p)
				if sent += n; err != nil {
					t.Fatalf("after %d bytes: %v", sent, err)
				}
			}
			write(first)
			batch := bytes.Repeat(unit, 100)
			for range units / 100 {
				write(batch)
			}
			write(last)
			r := &counting{conn: conn.conn, buf: conn.buf}
			r.readies(t, readies)
			if kind != "answered by Freshet" && r.bytes < units*len(big) {
				t.Errorf("%d bytes came back", r.bytes)
			}
		})
	}
	if in.server.Elastic() != 0 {
		t.Errorf("%d bytes are still lent", in.server.Elastic())
	}
}

// heapPeak samples the heap until stop is called, which returns the most it has grown by.
func heapPeak() (stop func() uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	old := debug.SetGCPercent(10)
	runtime.GC() // or what was there before would say how much garbage there may be
	start, most := read(), uint64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			if now := read(); now > start {
				most = max(most, now-start)
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(quit)
		<-done
		debug.SetGCPercent(old)
		return most
	}
}

// HAZARD 21: neither rows nor COPY nor a large parameter are held, however large they are.
func TestHazard21HugeThingsAreStreamed(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	if err := c.Primary().ExecIn(context.Background(), db, "CREATE UNLOGGED TABLE big(t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL"); err != nil {
		t.Fatal(err)
	}
	size := hugeSize(t, 32) << 20
	one := min(size, 900<<20)   // a value's size
	given := min(size, 400<<20) // … where the server holds it several times
	for name, run := range map[string]func(conn *wireConn, r *counting){
		"a row, simple": func(conn *wireConn, r *counting) {
			conn.conn.Write(wire.AppendQuery(nil, fmt.Sprintf("SELECT repeat('x', %d)", one)))
			r.bytes += size - one
			r.readies(t, 1)
		},
		"a row, extended": func(conn *wireConn, r *counting) {
			p := wire.AppendParse(nil, "", "SELECT repeat('x', $1)")
			p = wire.AppendBind(p, "", "", nil, [][]byte{fmt.Append(nil, one)}, []int16{1})
			conn.conn.Write(wire.AppendSync(wire.AppendExecute(p, "", 0)))
			r.bytes += size - one
			r.readies(t, 1)
		},
		"COPY OUT": func(conn *wireConn, r *counting) {
			conn.conn.Write(wire.AppendQuery(nil, fmt.Sprintf("COPY (SELECT repeat('x', 1000) FROM generate_series(1, %d)) TO STDOUT", size/800)))
			r.readies(t, 1)
		},
		"COPY IN": func(conn *wireConn, r *counting) {
			conn.conn.Write(wire.AppendQuery(nil, "COPY big FROM STDIN"))
			line := wire.AppendCopyData(nil, append(bytes.Repeat([]byte("y"), 1<<20), '\n'))
			for range size >> 20 {
				if _, err := conn.conn.Write(line); err != nil {
					t.Fatal(err)
				}
			}
			conn.conn.Write(wire.AppendCopyDone(nil))
			r.bytes = size
			r.readies(t, 1)
		},
		"COPY IN, one message": func(conn *wireConn, r *counting) {
			conn.conn.Write(wire.AppendQuery(nil, "COPY big FROM STDIN"))
			conn.conn.Write(wire.AppendHeader(nil, wire.MsgCopyData, given+1))
			piece := bytes.Repeat([]byte("z"), 1<<20)
			for range given >> 20 {
				if _, err := conn.conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			conn.conn.Write(append([]byte{'\n'}, wire.AppendCopyDone(nil)...))
			r.bytes = size
			r.readies(t, 1)
		},
		"a parameter": func(conn *wireConn, r *counting) {
			conn.conn.Write(wire.AppendParse(nil, "s", "INSERT INTO big VALUES ($1)"))
			// Bind: no portal name, "s", no formats, one parameter, no result formats.
			p := append(wire.AppendHeader(nil, wire.MsgBind, 3+2+2+4+given+2), 0, 's', 0, 0, 0, 0, 1)
			conn.conn.Write(binary.BigEndian.AppendUint32(p, uint32(given)))
			piece := bytes.Repeat([]byte("w"), 1<<20)
			for range given >> 20 {
				if _, err := conn.conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			conn.conn.Write(wire.AppendSync(wire.AppendExecute([]byte{0, 0}, "", 0)))
			r.bytes = size
			r.readies(t, 1)
		},
		"a text": func(conn *wireConn, r *counting) {
			const head, tail = "INSERT INTO big VALUES ('", "')\x00"
			conn.conn.Write(append(wire.AppendHeader(nil, wire.MsgQuery, given+len(head)+len(tail)), head...))
			piece := bytes.Repeat([]byte("v"), 1<<20)
			for range given >> 20 {
				if _, err := conn.conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			conn.conn.Write([]byte(tail))
			r.bytes = size
			r.readies(t, 1)
		},
		// As libpq does it: by function call messages.
		"a large object": func(conn *wireConn, r *counting) {
			const piece = 1 << 20
			int4 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
			call := func(oid uint32, args ...[]byte) {
				if _, err := conn.conn.Write(wire.AppendFunctionCall(nil, oid, []int16{1}, args, 1)); err != nil {
					t.Fatal(err)
				}
				r.readies(t, 1)
			}
			const loOpen, loRead, loWrite = 952, 954, 955
			const object, readWrite = 4711, 0x20000 | 0x40000
			conn.conn.Write(wire.AppendQuery(nil, fmt.Sprintf("BEGIN; SELECT lo_create(%d)", object)))
			r.readies(t, 1)
			call(loOpen, int4(object), int4(readWrite)) // descriptor 0
			data := bytes.Repeat([]byte("o"), piece)
			for range size / 4 / piece { // each is written to the WAL
				call(loWrite, int4(0), data)
			}
			call(loOpen, int4(object), int4(readWrite)) // 1
			for range size / 4 / piece {
				call(loRead, int4(1), int4(piece))
			}
			conn.conn.Write(wire.AppendQuery(nil, fmt.Sprintf("SELECT lo_unlink(%d); COMMIT", object)))
			r.bytes += size - size/4
			r.readies(t, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
			defer conn.conn.Close()
			conn.conn.SetDeadline(time.Now().Add(100*time.Second + time.Duration(size>>20)*time.Second))
			conn.patience = 10 * time.Minute
			stop := heapPeak()
			r := &counting{conn: conn.conn, buf: conn.buf}
			run(conn, r)
			if most := stop(); most > 14<<20 {
				t.Errorf("the heap has grown by %d MiB", most>>20)
			} else {
				t.Logf("the heap has grown by %d MiB", most>>20)
			}
			if r.bytes < size {
				t.Errorf("only %d bytes came", r.bytes)
			}
			conn.buf = r.buf
			conn.send(t, wire.AppendQuery(nil, "SELECT count(*), sum(length(t)) FROM big"))
			if out := conn.replies(t, 1); !strings.Contains(out, "SELECT 1") {
				t.Error(out)
			}
			conn.send(t, wire.AppendQuery(nil, "TRUNCATE big"))
			conn.replies(t, 1)
		})
	}
}
