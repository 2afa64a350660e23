package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// step does one thing.
func (c *client) step() {
	type choice struct {
		weight int
		do     func() error
	}
	choices := []choice{
		{burstWeight, c.burst},
		{400, func() error { return c.readRegister(nil) }},
		{120, func() error { return c.readSeveral(nil) }},
		{40, c.readSum},
		{100, func() error { return c.readPair(nil) }},
		{100, func() error { return c.readList(nil) }},
		{100, func() error { return c.readSeat(nil) }},
		{40, func() error { return c.readView(nil) }},
		{20, func() error { return c.readBulk(nil) }},
		{20, c.setting},
		{25, c.transaction},
		{20, c.pipeline},
		{50, c.writeRegister},
		{20, c.writePair},
		{20, c.appendList},
		{20, c.moveSeat},
		{4, c.failHalfway},
		{2, c.twoPhase},
		{1, c.writeBulk},
		{1, c.writeView},
	}
	switch {
	case c.r.stalled.Load() && !c.oneIn(400), c.r.quiet.Load() && !c.oneIn(20):
		choices = choices[:9] // reads
	}
	total := 0
	for _, x := range choices {
		total += x.weight
	}
	n := c.rng.IntN(total)
	for _, x := range choices {
		if n -= x.weight; n < 0 {
			_ = x.do() // counted, and a connection that is broken is made again
			return
		}
	}
}

// setting changes what reads of this connection may be answered from.
func (c *client) setting() error {
	_, err := c.send(simple, pick(c, []string{
		"SET freshet.cache = 'off'", "SET freshet.cache = 'on'", "RESET freshet.cache", "SET freshet.route = 'replica'", "SET freshet.route = 'primary'",
		"SET freshet.route = 'auto'", "RESET freshet.route", "SET freshet.route = 'auto'", "SET freshet.cache = 'on'",
		"RESET freshet.route; RESET freshet.cache", "RESET freshet.route; RESET freshet.cache", "RESET freshet.route; RESET freshet.cache",
	}))
	return err
}

// finish notes how a write has ended.
func (c *client) finish(w *write, n int64, err error) error {
	now := c.r.now()
	var v *Violation
	switch {
	case err == nil && n > 0:
		v = w.committed(n, now)
		c.session.wrote(w.o, n)
		c.r.counts.writes.Add(1)
	case err == nil:
		// Nothing says which version it is: no row was hit.
		v = &Violation{Rule: ruleLost, Object: w.o.String(), Detail: name(w.value)}
	case certain(err):
		v = w.rolledBack(now)
	default:
		w.lost(now)
	}
	c.r.violated(v, c)
	return err
}

// write sends a statement that writes one object and answers with the version.
func (c *client) write(o *object, m mode, sql string, args func(value int64) []int64) error {
	w := o.begin(c.value(), c.name, c.r.now())
	res, err := c.send(m, sql, args(w.value)...)
	return c.finish(w, number(res), err)
}

// number is the only value of an answer; 0: there is none.
func number(res result) int64 {
	if len(res.rows) != 1 || len(res.rows[0]) == 0 || res.rows[0][0] == null {
		return 0
	}
	return res.rows[0][0]
}

// writeRegister writes one, and reads it.
func (c *client) writeRegister() error {
	o := c.register(false)
	if err := c.writeTo(o); err != nil || c.past {
		return err
	}
	return c.read(nil, c.one(registerReads[c.rng.IntN(2)], o), pick(c, []mode{simple, prepared}))
}

func (c *client) writeTo(o *object) error {
	form := pick(c, []string{
		"UPDATE r%[1]d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n",
		"UPDATE r%[1]d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n",
		"SELECT write_r%[1]d($1, $2)",
		"WITH w AS (UPDATE r%[1]d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n) SELECT n FROM w",
		"INSERT INTO r%[1]d VALUES ($1, 0, $2) ON CONFLICT (id) DO UPDATE SET n = r%[1]d.n + 1, v = excluded.v RETURNING n",
		"UPDATE v%[1]d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n",
		"DO",
		"multi",
	})
	args := func(value int64) []int64 { return []int64{o.id, value} }
	switch form {
	case "DO":
		// It has no answer: what version it made is in the journal.
		w := o.begin(c.value(), c.name, c.r.now())
		_, err := c.send(simple, fmt.Sprintf("DO $do$ BEGIN UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1; END $do$", o.table), o.id, w.value)
		n := int64(0)
		if err == nil {
			now := c.r.now()
			if n, err = c.r.journaled(w.value); err != nil {
				w.lost(now)
				return err
			}
		}
		return c.finish(w, n, err)
	case "multi":
		// The read in it must see the write before it.
		w := o.begin(c.value(), c.name, c.r.now())
		all, err := c.sendAll(simple, fmt.Sprintf("UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n; SELECT n, v FROM r%d WHERE id = $1", o.table, o.table), o.id, w.value)
		n := int64(0)
		if err == nil && len(all) == 2 && len(all[1].rows) == 1 {
			n = number(all[0])
			if got := all[1].rows[0]; got[0] != n || got[1] != w.value {
				c.wrong(o, ruleOwnWrites, fmt.Sprintf("wrote version %d, %s, and read version %d, %s, in one query", n, name(w.value), got[0], name(got[1])), true)
			}
		}
		return c.finish(w, n, err)
	}
	return c.write(o, c.mode(), fmt.Sprintf(form, o.table), args)
}

func (c *client) writePair() error {
	o := pick(c, c.r.pairs)
	args := func(value int64) []int64 { return []int64{o.id, value} }
	switch c.rng.IntN(3) {
	case 0:
		return c.write(o, c.mode(), "SELECT write_pair($1, $2)", args)
	case 1:
		return c.write(o, c.mode(), `WITH a AS (UPDATE pa SET n = n + 1, v = $2 WHERE id = $1 RETURNING n), b AS (UPDATE pb SET n = n + 1, v = $2
			WHERE id = (SELECT $1 FROM a) RETURNING n) SELECT a.n FROM a, b`, args)
	}
	w := o.begin(c.value(), c.name, c.r.now())
	all, err := c.sendAll(simple, "BEGIN; UPDATE pa SET n = n + 1, v = $2 WHERE id = $1 RETURNING n; UPDATE pb SET n = n + 1, v = $2 WHERE id = $1; COMMIT", o.id, w.value)
	n := int64(0)
	if err == nil && len(all) == 4 {
		n = number(all[1])
	} else {
		c.rollback()
	}
	return c.finish(w, n, err)
}

// rollback ends a transaction that has failed, if there is one.
func (c *client) rollback() {
	if c.conn != nil && c.conn.TxStatus() != 'I' {
		_, _ = c.send(simple, "ROLLBACK")
	}
}

func (c *client) appendList() error {
	o := pick(c, c.r.lists)
	if c.oneIn(6) {
		// Entries that are old enough go.
		if _, err := c.send(c.mode(), fmt.Sprintf("DELETE FROM item WHERE id = $1 AND n < (SELECT max(n) FROM item WHERE id = $1) - %d", listKept), o.id); err != nil {
			return err
		}
	}
	if c.oneIn(3) {
		return c.copyList(o)
	}
	w := o.begin(c.value(), c.name, c.r.now())
	res, err := c.send(c.mode(), "INSERT INTO item SELECT $1, coalesce(max(n), 0) + 1, $2 FROM item WHERE id = $1 RETURNING n", o.id, w.value)
	return c.finish(w, number(res), err)
}

// copyList appends by COPY; somebody else may be first, then it fails.
func (c *client) copyList(o *object) error {
	// What is only seen, on a replica, needn't be visible on the primary yet: the next after that would make a hole there.
	o.mu.Lock()
	n := o.ackedBeforeLocked(c.r.now()) + 1
	o.mu.Unlock()
	w := o.begin(c.value(), c.name, c.r.now())
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	s := c.begins(simple, "COPY item FROM STDIN", nil, 1)
	_, err := c.conn.CopyFrom(ctx, strings.NewReader(fmt.Sprintf("%d\t%d\t%d\n", o.id, n, w.value)), "COPY item FROM STDIN")
	c.ends(s, err)
	return c.finish(w, n, err)
}

// moveSeat writes a seat, which moves it to the next of its places.
func (c *client) moveSeat() error {
	o := pick(c, c.r.seats)
	sql := fmt.Sprintf("UPDATE seat%d SET n = n + 1, v = $2, place = id * %[2]d + (n + 1) %% %[2]d WHERE id = $1 RETURNING n", o.table, places)
	return c.write(o, c.mode(), sql, func(value int64) []int64 { return []int64{o.id, value} })
}

func (c *client) writeBulk() error {
	o := c.r.bulk
	if c.oneIn(2) {
		return c.write(o, c.mode(), "WITH u AS (UPDATE bulk SET n = n + 1, v = $1 RETURNING n) SELECT max(n) FROM u", func(value int64) []int64 { return []int64{value} })
	}
	w := o.begin(c.value(), c.name, c.r.now())
	all, err := c.sendAll(simple, fmt.Sprintf(`BEGIN; LOCK TABLE bulk; CREATE TEMP TABLE was ON COMMIT DROP AS SELECT max(n) AS n FROM bulk; TRUNCATE bulk;
		INSERT INTO bulk SELECT i, (SELECT n FROM was) + 1, $1 FROM generate_series(1, %d) i; SELECT max(n) FROM bulk; COMMIT`, bulkRows), w.value)
	n := int64(0)
	if err == nil && len(all) == 7 {
		n = number(all[5])
	} else {
		c.rollback()
	}
	return c.finish(w, n, err)
}

// writeView replaces a view: DDL that changes an answer.
func (c *client) writeView() error {
	if c.r.calm.Load() != 0 {
		return nil // DDL makes everything stale: there are to be times with none, in which it is by row or by table that answers become so
	}
	o := c.r.view
	w := o.begin(c.value(), c.name, c.r.now())
	// One at a time; the number is known when the lock is there.
	all, err := c.sendAll(simple, "BEGIN; SELECT pg_advisory_xact_lock(1); SELECT coalesce(max(n), 0) + 1 FROM journal WHERE kind = 3")
	n := int64(0)
	if err != nil {
		err = errUndone
	} else if len(all) == 3 {
		n = number(all[2])
		_, err = c.sendAll(simple, "CREATE OR REPLACE VIEW gen AS SELECT $1::bigint AS n, $2::bigint AS v FROM one; INSERT INTO journal VALUES (3, 0, $1, $2); COMMIT", n, w.value)
	}
	if err != nil {
		c.rollback()
	}
	return c.finish(w, n, err)
}

// transaction runs one with several statements, and ends it one way or the other.
func (c *client) transaction() error {
	begin := pick(c, []string{"BEGIN", "BEGIN", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN ISOLATION LEVEL SERIALIZABLE"})
	tx := &scope{own: map[*object]int64{}, snapshot: strings.Contains(begin, "ISOLATION"), repeated: map[*object]int64{}}
	if _, err := c.send(simple, begin); err != nil {
		return err
	}
	type made struct {
		w *write
		n int64
	}
	var writes []made
	undo := func(err error) {
		for _, x := range writes {
			_ = c.finish(x.w, x.n, err)
		}
	}
	for range 1 + c.rng.IntN(5) {
		var err error
		switch {
		case strings.Contains(begin, "READ ONLY") || !c.oneIn(3):
			err = c.readInTransaction(tx)
		case c.oneIn(4):
			// A write that is undone by itself.
			o := c.register(false)
			if tx.own[o] != 0 {
				continue
			}
			w := o.begin(c.value(), c.name, c.r.now())
			tx.wrote = true
			tx.statement(c.r.now())
			_, err = c.sendAll(simple, fmt.Sprintf("SAVEPOINT s; UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1; ROLLBACK TO s", o.table), o.id, w.value)
			_ = c.finish(w, 0, errUndone)
		default:
			o := c.register(false)
			if tx.own[o] != 0 {
				continue // one version each: the journal has a line for each update
			}
			w := o.begin(c.value(), c.name, c.r.now())
			tx.wrote = true
			tx.statement(c.r.now())
			var res result
			res, err = c.send(c.mode(), fmt.Sprintf("UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n", o.table), o.id, w.value)
			if err == nil {
				tx.own[o] = w.value
			}
			writes = append(writes, made{w, number(res)})
		}
		if err != nil {
			c.rollback()
			undo(errUndone) // nobody has asked for a commit
			return err
		}
	}
	switch {
	case c.oneIn(4):
		_, err := c.send(simple, "ROLLBACK")
		undo(errUndone)
		return err
	case c.oneIn(30):
		c.close()
		undo(errUndone)
		return nil
	}
	res, err := c.send(simple, "COMMIT")
	if err == nil && res.tag != "COMMIT" {
		err = errUndone
	}
	undo(err)
	return err
}

// errUndone is a client's own decision not to commit: as sure as a server's refusal.
var errUndone error = &pgconn.PgError{Severity: "ERROR", Code: "XX000", Message: "undone"}

func (c *client) readInTransaction(tx *scope) error {
	switch c.rng.IntN(7) {
	case 4:
		return c.readSeat(tx)
	case 0:
		return c.readPair(tx)
	case 1:
		return c.readList(tx)
	case 2:
		return c.readSeveral(tx)
	case 3:
		// What it has written itself, or has read before.
		for _, known := range []map[*object]int64{tx.own, tx.repeated} {
			for o := range known {
				if o.kind == register {
					return c.read(tx, c.one(registerReads[0], o), c.mode())
				}
			}
		}
	}
	return c.readRegister(tx)
}

// failHalfway sends a write with something after it that fails: all of it is undone.
func (c *client) failHalfway() error {
	o := c.register(false)
	w := o.begin(c.value(), c.name, c.r.now())
	_, err := c.sendAll(simple, fmt.Sprintf("UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1; SELECT 1 / 0", o.table), o.id, w.value)
	if err == nil {
		err = errors.New("a division by zero succeeded")
		c.wrong(o, ruleUnwritten, err.Error(), false)
	}
	return c.finish(w, 0, err)
}

// twoPhase writes in a transaction that is prepared first.
func (c *client) twoPhase() error {
	o := c.register(false)
	w := o.begin(c.value(), c.name, c.r.now())
	all, err := c.sendAll(simple, fmt.Sprintf("BEGIN; UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n; PREPARE TRANSACTION 't$2'", o.table), o.id, w.value)
	if err != nil {
		c.rollback()
		// PREPARE TRANSACTION may have been done; then nobody will ever end it.
		if certain(err) {
			return c.finish(w, 0, err)
		}
		w.lost(c.r.now())
		c.r.orphan(w.value)
		return err
	}
	n := number(all[1])
	undo := c.oneIn(3)
	end := "COMMIT PREPARED"
	if undo {
		end = "ROLLBACK PREPARED"
	}
	_, err = c.send(simple, end+" 't$1'", w.value)
	if err == nil && undo {
		err = errUndone
	}
	if err != nil && !undo {
		w.lost(c.r.now())
		c.r.orphan(w.value)
		return err
	}
	if err != nil && err != errUndone {
		c.r.orphan(w.value)
		err = errUndone
	}
	return c.finish(w, n, err)
}

// pipeline sends a write and a read of the same at once, as two units: the second must see the first.
func (c *client) pipeline() error {
	o := c.register(false)
	w := o.begin(c.value(), c.name, c.r.now())
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	s := c.begins(extended, fmt.Sprintf("UPDATE r%d … $1, $2; Sync; SELECT id, n, v FROM r%d WHERE id = $1; Sync", o.table, o.table), []int64{o.id, w.value}, 2)
	p := c.conn.StartPipeline(ctx)
	id := []byte(fmt.Sprint(o.id))
	began := c.r.now()
	p.SendQueryParams(fmt.Sprintf("UPDATE r%d SET n = n + 1, v = $2 WHERE id = $1 RETURNING n", o.table), [][]byte{id, []byte(fmt.Sprint(w.value))}, nil, nil, nil)
	err := p.Sync()
	if err == nil {
		p.SendQueryParams(fmt.Sprintf("SELECT id, n, v FROM r%d WHERE id = $1", o.table), [][]byte{id}, nil, nil, nil)
		err = p.Sync()
	}
	var results []result
	syncs := 0
	for err == nil {
		var next any
		if next, err = p.GetResults(); next == nil {
			break
		}
		switch next := next.(type) {
		case *pgconn.PipelineSync:
			syncs++ // what is before it is committed
		case *pgconn.ResultReader:
			a := next.Read()
			var res result
			if err = a.Err; err == nil {
				if res, err = decode(a); err == nil {
					results = append(results, res)
				}
			}
		}
	}
	closed := p.Close()
	if err == nil {
		err = closed
	}
	c.ends(s, err)
	if len(results) > 0 && syncs > 0 {
		n := number(results[0])
		if failed := c.finish(w, n, nil); failed != nil {
			return failed
		}
		if len(results) > 1 && err == nil {
			list, wrong := c.r.triples(results[1].rows)
			if wrong != "" || len(list) != 1 {
				c.wrong(o, ruleTorn, wrong, true)
				return nil
			}
			r := &reading{o: o, by: c.name, level: Session, began: began, ended: c.r.now(), had: low{written: n}, n: list[0].n, value: list[0].value}
			if c.level == Eventual {
				r.had = low{}
			}
			if _, v := r.observe(c.r.cfg.Bound); v != nil {
				c.explain(v)
				c.r.violated(v, c)
			}
			c.session.saw(o, list[0].n)
		}
		return err
	}
	if err == nil {
		err = errors.New("no answer to a pipeline")
	}
	return c.finish(w, 0, err)
}
