package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// client is a connection, through Freshet or past it, and whoever uses it: one statement after the other. A connection that
// breaks is made again, as another session.
type client struct {
	r       *run
	id      int
	past    bool
	hasty   bool // its commits wait for no standby: they overtake those that do
	rng     *rand.Rand
	level   Level
	keyed   *session // the session that it shares by its session key; nil: none
	conn    *pgconn.PgConn
	session *session
	known   map[string]string // prepared statements: text to name
	written int64             // values so far
	conns   int
	name    string
	last    [10]statement // a ring
	count   int
}

// statement is one that the client has sent.
type statement struct {
	mode         mode
	sql          string
	args         []int64
	began, ended instant
	err          error
}

// mode is how a statement is sent.
type mode uint8

const (
	simple mode = iota
	extended
	prepared
	modes
)

func (m mode) String() string { return [...]string{"simple", "extended", "prepared"}[m] }

// null in a result.
const null = math.MinInt64

// opTimeout bounds a statement. It is longer than anything that is broken stays broken.
const opTimeout = 40 * time.Second

func newClient(r *run, id int) *client {
	c := &client{r: r, id: id, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)))}
	switch l := r.cfg.Level; l {
	case "mixed":
		c.level = [...]Level{Eventual, Session, Session, Strong}[id%4]
	default:
		c.level = Level(l)
	}
	if c.level == Session && id%3 == 0 {
		c.keyed = r.keyed[id/3%len(r.keyed)]
	}
	return c
}

// run uses the connection until ctx ends. What is under way then is finished.
func (c *client) run(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		if c.conn == nil {
			if err := c.connect(ctx); err != nil {
				c.r.counts.error(err)
				sleep(ctx, time.Duration(1+c.rng.IntN(50))*time.Millisecond)
				continue
			}
		}
		c.step()
		if n := c.r.total.Load(); c.r.cfg.Ops > 0 && n >= c.r.cfg.Ops {
			c.r.stop()
		}
	}
}

func (c *client) close() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

func (c *client) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	url := c.r.lab.url()
	if c.past {
		url = c.r.lab.cluster.Primary().AppURL()
	}
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return err
	}
	if c.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		c.conn = nil
		return err
	}
	c.known = map[string]string{}
	c.conns++
	c.name = fmt.Sprintf("client %d.%d", c.id, c.conns)
	if c.past {
		c.name = "past " + strings.TrimPrefix(c.name, "client ")
	}
	if c.session = c.keyed; c.session == nil {
		c.session = newSession(c.name)
	} else {
		c.name += " (" + c.keyed.name + ")"
	}
	if c.past {
		return nil
	}
	settings := fmt.Sprintf("SET freshet.consistency = '%s'", c.level)
	if c.level == Session {
		settings = "" // the default
	}
	if c.keyed != nil {
		settings = fmt.Sprintf("SET freshet.session_key = '%s'", c.keyed.name)
	}
	if settings == "" {
		return nil
	}
	if _, err := c.send(simple, settings); err != nil {
		c.close()
		return err
	}
	return nil
}

// result is a statement's answer.
type result struct {
	rows [][]int64
	tag  string
}

// send runs one text, and gives the answer to the last statement in it.
func (c *client) send(m mode, sql string, args ...int64) (result, error) {
	all, err := c.sendAll(m, sql, args...)
	if err != nil {
		return result{}, err
	}
	if len(all) == 0 {
		return result{}, nil
	}
	return all[len(all)-1], nil
}

// sendAll runs one text. In the simple protocol it may have several statements, and arguments are put into it.
func (c *client) sendAll(m mode, sql string, args ...int64) (_ []result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout) // what is under way is finished
	defer cancel()
	s := c.begins(m, sql, args, 1)
	defer func() { c.ends(s, err) }()
	if m == simple {
		answers, err := c.conn.Exec(ctx, inline(sql, args)).ReadAll()
		if err != nil {
			return nil, err
		}
		var all []result
		for _, a := range answers {
			res, err := decode(a)
			if err != nil {
				return nil, err
			}
			all = append(all, res)
		}
		return all, nil
	}
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = strconv.AppendInt(nil, a, 10)
	}
	var formats []int16
	if c.rng.IntN(2) == 0 {
		formats = []int16{1}
	}
	var a *pgconn.Result
	if m == extended {
		a = c.conn.ExecParams(ctx, sql, params, nil, nil, formats).Read()
	} else {
		if err := c.prepare(sql); err != nil {
			return nil, err
		}
		a = c.conn.ExecPrepared(ctx, c.known[sql], params, nil, formats).Read()
	}
	if a.Err != nil {
		return nil, a.Err
	}
	res, err := decode(a)
	return []result{res}, err
}

// prepare prepares a text on this connection, once.
func (c *client) prepare(sql string) error {
	if _, ok := c.known[sql]; ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	name := fmt.Sprintf("s%d", len(c.known))
	if _, err := c.conn.Prepare(ctx, name, sql, nil); err != nil {
		return err
	}
	c.known[sql] = name
	return nil
}

// begins notes that something is about to be sent, which counts for n statements.
func (c *client) begins(m mode, sql string, args []int64, n int) *statement {
	s := &c.last[c.count%len(c.last)]
	*s = statement{mode: m, sql: sql, args: args, began: c.r.now()}
	c.count++
	if !c.past {
		c.r.total.Add(int64(n))
	}
	return s
}

// ends notes how it has ended.
func (c *client) ends(s *statement, err error) {
	s.ended, s.err = c.r.now(), err
	c.r.counts.took(s)
	if err != nil {
		c.r.counts.error(err)
	}
	if c.conn != nil && c.conn.IsClosed() {
		c.conn = nil
	}
}

// inline puts the arguments into the text.
func inline(sql string, args []int64) string {
	for i := len(args); i > 0; i-- {
		sql = strings.ReplaceAll(sql, "$"+strconv.Itoa(i), strconv.FormatInt(args[i-1], 10))
	}
	return sql
}

// decode reads a result whose columns are numbers. Others are null.
func decode(a *pgconn.Result) (result, error) {
	res := result{tag: a.CommandTag.String()}
	for _, values := range a.Rows {
		row := make([]int64, len(values))
		for i, v := range values {
			row[i] = null
			if v == nil {
				continue
			}
			if a.FieldDescriptions[i].Format == 1 {
				switch len(v) {
				case 8:
					row[i] = int64(binary.BigEndian.Uint64(v))
				case 4:
					row[i] = int64(int32(binary.BigEndian.Uint32(v)))
				}
				continue
			}
			n, err := strconv.ParseInt(string(v), 10, 64)
			if err == nil {
				row[i] = n
			}
		}
		res.rows = append(res.rows, row)
	}
	return res, nil
}

// certain tells whether a failed statement, or the transaction that it was in, is sure not to be committed: the server has
// refused it, and the connection goes on.
func certain(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Severity == "FATAL" || pg.Severity == "PANIC" {
		return false
	}
	switch {
	case pg.Code[:2] == "08", pg.Code == "40003", pg.Code[:3] == "57P":
		return false
	}
	return true
}

// explain asks Freshet how the last answer came about.
func (c *client) explain(v *Violation) {
	for _, what := range []string{"source", "reason", "position", "floor"} {
		if c.conn == nil || c.past {
			return
		}
		answer, err := c.conn.Exec(context.Background(), "SHOW freshet."+what).ReadAll()
		if err != nil || len(answer) != 1 || len(answer[0].Rows) != 1 {
			return
		}
		v.asked = append(v.asked, fmt.Sprintf("%s: %s", what, answer[0].Rows[0][0]))
	}
}

// source is where the last answer came from, without addresses, and why.
func (c *client) source() (name, reason string) {
	for i, what := range []string{"source", "reason"} {
		answer, err := c.conn.Exec(context.Background(), "SHOW freshet."+what).ReadAll()
		if err != nil || len(answer) != 1 || len(answer[0].Rows) != 1 {
			return "", ""
		}
		switch text := string(answer[0].Rows[0][0]); i {
		case 0:
			name, _, _ = strings.Cut(text, " ")
		case 1:
			reason, _, _ = strings.Cut(text, ":")
		}
	}
	return name, reason
}

// statements are the last ones, as a person reads them.
func (c *client) statements() []string {
	var list []string
	for i := max(0, c.count-len(c.last)); i < c.count; i++ {
		list = append(list, c.last[i%len(c.last)].String())
	}
	return list
}

func (s statement) String() string {
	line := fmt.Sprintf("from %v to %v (%v): %s", s.began, s.ended, s.mode, inline(s.sql, s.args))
	if s.err != nil {
		line += ": " + s.err.Error()
	}
	return line
}

// value is one that nobody has written yet.
func (c *client) value() int64 {
	c.written++
	return value(c.id, c.written)
}

func (c *client) mode() mode { return mode(c.rng.IntN(int(modes))) }

func (c *client) oneIn(n int) bool { return c.rng.IntN(n) == 0 }

func pick[T any](c *client, list []T) T { return list[c.rng.IntN(len(list))] }
