package check

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// burstWeight is how often a client sends a burst, see client.step.
const burstWeight = 600

// burstMost is how many reads there are in one at most.
const burstMost = 64

// burst sends many reads of what is mostly cached at once, each a unit of its own: so the checker has thousands of answers a second to
// judge where two cores have to do everything. The session has to see each of them in order.
func (c *client) burst() error {
	type sent struct {
		query
		lows []low
	}
	// All that can fail before something is sent, first.
	list := make([]sent, 4+c.rng.IntN(burstMost-3))
	for i := range list {
		list[i].query = c.burstQuery()
		list[i].burst = true
		if err := c.prepare(list[i].sql); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	for i := range list {
		list[i].lows = c.reads(list[i].query)
	}
	s := c.begins(extended, fmt.Sprintf("%d reads at once, the first: %s", len(list), list[0].sql), list[0].args, len(list))
	began := s.began
	p := c.conn.StartPipeline(ctx)
	var err error
	var b []byte
	for i := range list {
		b = strconv.AppendInt(b[:0], list[i].args[0], 10)
		p.SendQueryPrepared(c.known[list[i].sql], [][]byte{b}, nil, nil)
		if err = p.Sync(); err != nil {
			break
		}
	}
	judged := 0
	shown := map[*object]int64{} // by this burst
	for err == nil && judged < len(list) {
		var next any
		if next, err = p.GetResults(); err != nil || next == nil {
			break
		}
		reader, ok := next.(*pgconn.ResultReader)
		if !ok {
			continue // a Sync
		}
		a := reader.Read()
		if err = a.Err; err != nil {
			break
		}
		var res result
		if res, err = decode(a); err != nil {
			break
		}
		q := &list[judged]
		judged++
		if c.level != Eventual {
			// What this connection has been shown before counts, also if it was asked for at the same time.
			for i, o := range q.objects {
				q.lows[i].seen = max(q.lows[i].seen, shown[o])
			}
		}
		for _, x := range c.judge(nil, q.query, q.lows, began, c.r.now(), res.rows) {
			shown[x.o] = x.n
		}
	}
	for _, q := range list[judged:] {
		c.readFailed(q.query)
	}
	closed := p.Close()
	if err == nil {
		err = closed
	}
	c.ends(s, err)
	return err
}

// burstQuery chooses a read of something that many read.
func (c *client) burstQuery() query {
	switch n := c.rng.IntN(20); {
	case n < 12:
		return c.one(registerReads[c.rng.IntN(2)], c.hot())
	case n < 15:
		return c.seatQuery(seatReads[0], c.r.seats[c.rng.IntN(len(seatTables))])
	case n < 18:
		return c.pairQuery(pairReads[0], c.r.pairs[c.rng.IntN(2)])
	default:
		return c.listQuery(listReads[1], c.r.lists[c.rng.IntN(2)])
	}
}
