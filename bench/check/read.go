package check

import "fmt"

// seen is what an answer says about one object.
type seen struct {
	o        *object
	n, value int64
}

// query is a read of some objects.
type query struct {
	objects []*object
	sql     string
	args    []int64
	burst   bool // one of many sent at once: it isn't known when it began, so porcupine would find too much possible
	// extract reads the answer: what it says about each of the objects, and what is wrong with it by itself.
	extract func(rows [][]int64) (list []seen, wrong string)
}

// scope is the transaction that a read is part of; the zero value is none.
type scope struct {
	own      map[*object]int64 // what it has written, by value
	wrote    bool              // then it is on the primary, which has everything
	snapshot bool              // all of it sees one snapshot, that of its first statement
	first    instant           // when that began
	repeated map[*object]int64 // versions that it has read
}

// statement notes that the transaction executes a statement, and says whether it is the first.
func (tx *scope) statement(now instant) bool {
	if tx.first != 0 {
		return false
	}
	tx.first = now
	return true
}

// read sends a query, judges what it says about the objects, and notes what the session has seen.
func (c *client) read(tx *scope, q query, m mode) error {
	lows := c.reads(q)
	began := c.r.now()
	if tx != nil && tx.snapshot {
		if !tx.statement(began) {
			began = tx.first
			if c.keyed != nil {
				clear(lows) // the others may have raised them since
			}
		}
	}
	res, err := c.send(m, q.sql, q.args...)
	ended := c.r.now()
	if err != nil {
		c.readFailed(q)
		return err
	}
	if c.judge(tx, q, lows, began, ended, res.rows) != nil && tx == nil && !c.past && c.oneIn(64) && c.conn != nil {
		c.r.counts.source(c.source())
	}
	return nil
}

// reads notes that a query is about to be sent, and gives what the session has to find in the answer.
func (c *client) reads(q query) []low {
	lows := make([]low, len(q.objects))
	for i, o := range q.objects {
		if !q.burst {
			o.reads(c.level)
		}
		if c.level != Eventual && !c.past {
			lows[i] = c.session.has(o)
		}
	}
	return lows
}

func (c *client) readFailed(q query) {
	if q.burst {
		return
	}
	for _, o := range q.objects {
		o.readFailed(c.level)
	}
}

// judge judges the answer to a query, notes what the session has seen, and gives it; nil: nothing, or something is wrong.
func (c *client) judge(tx *scope, q query, lows []low, began, ended instant, rows [][]int64) []seen {
	list, wrong := q.extract(rows)
	if wrong == elsewhere {
		c.readFailed(q)
		c.r.counts.reads.Add(1)
		return nil
	}
	if wrong != "" || len(list) != len(q.objects) {
		c.readFailed(q)
		if wrong == "" {
			wrong = fmt.Sprintf("%d of %d rows are there", len(list), len(q.objects))
		}
		c.wrong(q.objects[0], ruleTorn, fmt.Sprintf("%s: %v", wrong, rows), tx == nil)
		return nil
	}
	for i, s := range list {
		o := s.o
		if o != q.objects[i] {
			c.wrong(o, ruleUnwritten, fmt.Sprint(rows), tx == nil)
			return nil
		}
		r := &reading{o: o, by: c.name, level: c.level, began: began, ended: ended, had: lows[i], n: s.n, value: s.value, current: c.past, burst: q.burst}
		if tx != nil {
			r.own, r.current = tx.own[o], tx.wrote && !tx.snapshot
			if tx.snapshot {
				if n, ok := tx.repeated[o]; ok && n != s.n && r.own == 0 {
					c.wrong(o, ruleRepeatable, fmt.Sprintf("version %d, then version %d", n, s.n), false)
				}
				tx.repeated[o] = s.n
			}
		}
		stale, v := r.observe(c.r.cfg.Bound)
		if v != nil {
			if tx == nil {
				c.explain(v)
			}
			c.r.violated(v, c)
			continue
		}
		c.r.counts.stale(stale)
		if r.own == 0 {
			c.session.saw(o, s.n)
		}
	}
	c.r.counts.reads.Add(1)
	return list
}

// elsewhere is what an answer says that doesn't say anything about a version.
const elsewhere = "elsewhere"

// wrong notes a violation that isn't about versions.
func (c *client) wrong(o *object, rule, detail string, explain bool) {
	o.mu.Lock()
	v := o.violationLocked(rule, detail)
	o.mu.Unlock()
	if explain {
		c.explain(v)
	}
	c.r.violated(v, c)
}

// triples reads rows of (id, n, value), perhaps several in a row.
func (r *run) triples(rows [][]int64) (list []seen, wrong string) {
	for _, row := range rows {
		for ; len(row) >= 3; row = row[3:] {
			o := r.byID[row[0]]
			if o == nil {
				return nil, "an id that there isn't"
			}
			list = append(list, seen{o, row[1], row[2]})
		}
	}
	return list, ""
}

// register chooses one: mostly of a table in which not much is written now.
func (c *client) register(reading bool) *object {
	t := c.rng.IntN(tables)
	calm := int(c.r.calm.Load())
	switch {
	case c.hasty:
		t = (calm + 1) % tables // what is cached of the others may stay so
	case c.r.stalled.Load() && c.oneIn(2):
		return c.hot() // what is read most
	case reading && c.oneIn(2):
		t = calm
	case !reading && t == calm && !c.oneIn(8):
		t = (t + 1) % tables
	}
	return pick(c, c.r.registers[t])
}

var registerReads = []string{
	"SELECT id, n, v FROM r%d WHERE id = $1",
	"SELECT id, n, v FROM v%d WHERE id = $1",
	"SELECT * FROM r%d AS r WHERE r.id = $1 LIMIT 1",
	"WITH x AS (SELECT * FROM r%d) SELECT id, n, v FROM x WHERE id = $1",
	"SELECT id, n, v FROM r%d WHERE id IN ($1)",
	"SELECT /* freshet: cache=off */ id, n, v FROM r%d WHERE id = $1",
	"SELECT /* freshet: route=replica */ id, n, v FROM r%d WHERE id = $1",
	"SELECT /* freshet: route=primary */ id, n, v FROM r%d WHERE id = $1",
}

// hot is one of those that many read, so that it is cached.
func (c *client) hot() *object { return c.r.registers[c.r.calm.Load()][c.rng.IntN(2)] }

func (c *client) readRegister(tx *scope) error {
	o, form, m := c.register(true), pick(c, registerReads), c.mode()
	if !c.oneIn(3) {
		o, form = c.hot(), registerReads[c.rng.IntN(2)]
		if m == extended {
			m = prepared
		}
	}
	return c.read(tx, c.one(form, o), m)
}

// one is a query for one register.
func (c *client) one(form string, o *object) query {
	return query{objects: []*object{o}, sql: fmt.Sprintf(form, o.table), args: []int64{o.id}, extract: c.r.triples}
}

// readSeveral reads several registers in one statement.
func (c *client) readSeveral(tx *scope) error {
	t := c.rng.IntN(tables)
	all := c.r.registers[t]
	switch c.rng.IntN(3) {
	case 0:
		return c.read(tx, query{objects: all, sql: fmt.Sprintf("SELECT id, n, v FROM r%d ORDER BY id", t), extract: c.r.triples}, c.mode())
	case 1:
		i := c.rng.IntN(registers - 2)
		return c.read(tx, query{objects: all[i : i+3], sql: fmt.Sprintf("SELECT id, n, v FROM r%d WHERE id IN ($1, $2, $3) ORDER BY id", t),
			args: []int64{all[i].id, all[i+1].id, all[i+2].id}, extract: c.r.triples}, c.mode())
	default:
		a, b := all[c.rng.IntN(registers)], pick(c, c.r.registers[(t+1)%tables])
		return c.read(tx, query{objects: []*object{a, b}, sql: fmt.Sprintf("SELECT a.id, a.n, a.v, b.id, b.n, b.v FROM r%d a, r%d b WHERE a.id = $1 AND b.id = $2", a.table, b.table),
			args: []int64{a.id, b.id}, extract: c.r.triples}, c.mode())
	}
}

// readSum reads an aggregate, of which is known between what it must be, and that it only grows.
func (c *client) readSum() error {
	t := c.rng.IntN(tables)
	began := c.r.now()
	var had low
	var fresh int64
	bound := c.r.cfg.Bound
	if c.level == Strong {
		bound = 0
	}
	for _, o := range c.r.registers[t] {
		h := c.session.has(o)
		had.written += h.written
		had.seen += max(h.seen, h.written)
		o.mu.Lock()
		fresh += o.ackedBeforeLocked(began - instant(bound))
		o.mu.Unlock()
	}
	had.seen = max(had.seen, c.session.sum(t))
	if c.level == Eventual {
		had = low{}
	}
	res, err := c.send(c.mode(), fmt.Sprintf("SELECT sum(n)::bigint, count(*) FROM r%d", t))
	if err != nil {
		return err
	}
	c.r.counts.reads.Add(1)
	first := c.r.registers[t][0]
	if len(res.rows) != 1 || res.rows[0][1] != registers {
		c.wrong(first, ruleTorn, fmt.Sprint(res.rows), true)
		return nil
	}
	sum := res.rows[0][0]
	var most int64
	for _, o := range c.r.registers[t] {
		o.mu.Lock()
		most += o.upperLocked()
		o.mu.Unlock()
	}
	wrong := func(rule string, limit int64) error {
		c.wrong(first, rule, fmt.Sprintf("the sum of the versions in r%d is %d; the limit is %d", t, sum, limit), true)
		return nil
	}
	switch {
	case sum > most:
		return wrong(ruleUnwritten, most)
	case sum < fresh && c.level == Strong:
		return wrong(ruleLinearizable, fresh)
	case sum < fresh:
		return wrong(ruleStaleness, fresh)
	case sum < had.written:
		return wrong(ruleOwnWrites, had.written)
	case sum < had.seen:
		return wrong(ruleMonotonic, had.seen)
	}
	c.session.sawSum(t, sum)
	return nil
}

var pairReads = []string{
	"SELECT a.n, a.v, b.n, b.v FROM pa a JOIN pb b ON b.id = a.id WHERE a.id = $1",
	"SELECT (SELECT n FROM pa WHERE id = $1), (SELECT v FROM pa WHERE id = $1), (SELECT n FROM pb WHERE id = $1), (SELECT v FROM pb WHERE id = $1)",
	"WITH b AS (SELECT * FROM pb) SELECT a.n, a.v, b.n, b.v FROM pa a, b WHERE a.id = $1 AND b.id = $1",
}

func (c *client) readPair(tx *scope) error {
	return c.read(tx, c.pairQuery(pick(c, pairReads), pick(c, c.r.pairs)), c.mode())
}

func (c *client) pairQuery(sql string, o *object) query {
	return query{objects: []*object{o}, sql: sql, args: []int64{o.id}, extract: func(rows [][]int64) ([]seen, string) {
		if len(rows) != 1 {
			return nil, ""
		}
		x := rows[0]
		if x[0] != x[2] || x[1] != x[3] {
			return nil, "the two rows of a pair are of two writes"
		}
		return []seen{{o, x[0], x[1]}}, ""
	}}
}

func (c *client) readList(tx *scope) error {
	return c.read(tx, c.listQuery(pick(c, listReads), pick(c, c.r.lists)), c.mode())
}

var listReads = []string{
	"SELECT n, v FROM item WHERE id = $1 ORDER BY n DESC",
	"SELECT n, v FROM item WHERE id = $1 ORDER BY n DESC LIMIT 5",
}

func (c *client) listQuery(sql string, o *object) query {
	return query{objects: []*object{o}, sql: sql, args: []int64{o.id}, extract: func(rows [][]int64) ([]seen, string) {
		if len(rows) == 0 {
			return []seen{{o, 0, 0}}, ""
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		for i, row := range rows {
			if i == 0 {
				continue
			}
			if row[0] != rows[i-1][0]-1 {
				return nil, "a list with a hole"
			}
			// The top one is judged like any other reading; those below it can't be of writes that aren't over.
			if known := o.valueLocked(row[0]); known != 0 && known != row[1] {
				return nil, fmt.Sprintf("entry %d is %s, not %s", row[0], name(row[1]), name(known))
			}
		}
		return []seen{{o, rows[0][0], rows[0][1]}}, ""
	}}
}

var seatReads = []string{
	"SELECT n, v FROM seat%d WHERE place = $1",
	"SELECT a.n, b.v FROM seat%[1]d a JOIN seat%[1]d b USING (id) WHERE a.place = $1 AND b.place = $1",
}

// readSeat looks for a seat in one of its places. Version n is in place n modulo places: an answer that has it where it was before
// is old.
func (c *client) readSeat(tx *scope) error {
	o, form, m := pick(c, c.r.seats), pick(c, seatReads), c.mode()
	if !c.oneIn(4) {
		// So that some are read often enough to be cached.
		o, form = c.r.seats[c.rng.IntN(len(seatTables))], seatReads[0]
		if m == extended {
			m = prepared
		}
	}
	return c.read(tx, c.seatQuery(form, o), m)
}

func (c *client) seatQuery(form string, o *object) query {
	place := o.id*places + c.rng.Int64N(places)
	return query{objects: []*object{o}, sql: fmt.Sprintf(form, o.table), args: []int64{place}, extract: func(rows [][]int64) ([]seen, string) {
		if len(rows) == 0 {
			return nil, elsewhere
		}
		if n := rows[0][0]; len(rows) > 1 || o.id*places+n%places != place {
			return nil, fmt.Sprintf("it isn't in place %d", place)
		}
		return []seen{{o, rows[0][0], rows[0][1]}}, ""
	}}
}

func (c *client) readView(tx *scope) error {
	o := c.r.view
	return c.read(tx, query{objects: []*object{o}, sql: "SELECT n, v FROM gen", extract: func(rows [][]int64) ([]seen, string) {
		if len(rows) != 1 {
			return nil, ""
		}
		return []seen{{o, rows[0][0], rows[0][1]}}, ""
	}}, c.mode())
}

func (c *client) readBulk(tx *scope) error {
	o := c.r.bulk
	return c.read(tx, query{objects: []*object{o}, sql: "SELECT min(n), max(n), min(v), max(v), count(*) FROM bulk", extract: func(rows [][]int64) ([]seen, string) {
		if len(rows) != 1 {
			return nil, ""
		}
		x := rows[0]
		if x[0] != x[1] || x[2] != x[3] || x[4] != bulkRows {
			return nil, "the rows of one write are torn"
		}
		return []seen{{o, x[0], x[2]}}, ""
	}}, c.mode())
}
