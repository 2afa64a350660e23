package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/shard"
	"github.com/freshet/freshet/proxy/wire"
)

// ErrPoolWait is what a waiter gets when no connection came free within Options.Wait.
var ErrPoolWait = errors.New("no server connection became free in time")

// ErrClosing is what a waiter gets while Options.Closing says so.
var ErrClosing = errors.New("the server connections are being closed")

// ErrPoolClosed is what a waiter gets when the pool is closed.
var ErrPoolClosed = errors.New("the pool is closed")

// Options are the limits of a pool. Zero Lifetime or IdleTimeout: unlimited.
type Options struct {
	Size        int           // most connections, those being made included
	Wait        time.Duration // longest wait for a connection
	Connect     time.Duration // longest time for connecting and logging in
	Lifetime    time.Duration // a connection older than this isn't lent again
	IdleTimeout time.Duration // a connection idle for longer is closed
	Logger      *slog.Logger
	// Failed is told of each failure to connect that says something about the node, Worked of each login. Safe for concurrent use.
	Failed func(error)
	Worked func()
	// Vouch makes sure, by asking the server over a new connection, that what is known about the node holds for it. It is called
	// on a goroutine that may block. The connection is lent only as long as Epoch returns what Vouch did. Both nil: not needed.
	Vouch func(ask func(sql string) (string, error)) (epoch uint64, err error)
	Epoch func() uint64
	// Closing: nothing is lent, and connections are closed as they are given back. Nil: never.
	Closing func() bool
	// Defaults is a number that changes when a new connection would begin with other settings than an old one. Nil: they don't.
	Defaults func() uint64
	// Senders are told of the node's connections over which somebody may have sent a notification. Nil: nobody is.
	Senders *Senders
}

// vouchRetry is the pause after a Vouch that failed: whoever watches the node has to find out first.
const vouchRetry = 20 * time.Millisecond

// Pool holds the connections to one node as one user of one database, shared by all shards.
//
// Order of service: first come, first served, over all shards (HAZARD 17). While nobody waits, a shard
// lends and takes back its own idle connections without a lock; as soon as somebody waits, each
// connection that comes free goes to the one who has waited longest, moving to that shard if need be.
//
// Lock order: Pool.mu is a leaf; no callback is made while it is held.
type Pool struct {
	target   Target
	database string
	user     string
	opts     Options
	locals   []*Local

	waiting   atomic.Int32 // len(mu.queue)
	idle      atomic.Int32 // idle connections in all locals
	suspended atomic.Int32 // > 0: nothing is kept idle, and nothing made

	mu struct {
		sync.Mutex
		total  int // connections that exist or are being made
		making int
		queue  []*Waiter
		closed bool
	}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Local is a pool's part that belongs to one shard.
type Local struct {
	pool *Pool
	loop *shard.Loop
	idle []*Conn // last in, first out: the warmest is used first
	used map[*Conn]struct{}
}

// Waiter is a place in a pool's queue.
type Waiter struct {
	local    *Local
	identity auth.Identity
	grant    func(*Conn, error)
	timer    *shard.Timer
	done     bool // granted, failed or left; touched under pool.mu
	left     bool // … while what was granted was on its way; touched on the waiter's loop
}

// NewPool makes a pool for the given shards' loops; connections are made on demand. Close it.
func NewPool(target Target, database, user string, loops []*shard.Loop, opts Options) *Pool {
	p := &Pool{target: target, database: database, user: user, opts: opts}
	p.ctx, p.cancel = context.WithCancel(context.Background()) // its owner ends it with Close
	for _, l := range loops {
		p.locals = append(p.locals, &Local{pool: p, loop: l, used: map[*Conn]struct{}{}})
	}
	return p
}

// Local returns the part of shard number i.
func (p *Pool) Local(i int) *Local { return p.locals[i] }

// Conns are the connections that belong to this shard. On its loop.
func (l *Local) Conns() []*Conn { return slices.Collect(maps.Keys(l.used)) }

// Stats is what SHOW POOLS and the metrics tell of a pool.
type Stats struct{ Total, Idle, Waiting, Making int }

// Stats returns a momentary picture; safe for concurrent use.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Total: p.mu.total, Idle: int(p.idle.Load()), Waiting: len(p.mu.queue), Making: p.mu.making}
}

// Acquire asks for a connection, on the loop of l. It returns one at once, or nil and a Waiter: then
// grant is called later, on the loop, exactly once, with a connection or an error — unless Leave comes first.
func (l *Local) Acquire(owner Borrower, id auth.Identity, grant func(*Conn, error)) (*Conn, *Waiter) {
	p := l.pool
	if p.waiting.Load() == 0 {
		if c := l.takeIdle(); c != nil {
			c.owner = owner
			return c, nil
		}
	}
	w := &Waiter{local: l, identity: id, grant: grant}
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		l.loop.Post(func() { w.fail(ErrPoolClosed) })
		return nil, w
	}
	p.mu.queue = append(p.mu.queue, w)
	p.waiting.Store(int32(len(p.mu.queue)))
	p.mu.Unlock()
	if p.opts.Wait > 0 {
		w.timer = l.loop.After(p.opts.Wait, func() {
			if p.leave(w) {
				grant(nil, ErrPoolWait)
			}
		})
	}
	if p.closing() {
		p.TurnAway() // it may have begun before the waiter was in the queue, or not
		return nil, w
	}
	p.feed()
	return nil, w
}

// TurnAway tells those who wait that nothing is lent: Options.Closing says so. Safe for concurrent use.
func (p *Pool) TurnAway() {
	p.mu.Lock()
	away := p.emptyQueueLocked()
	p.mu.Unlock()
	failAll(away, ErrClosing)
}

// emptyQueueLocked takes out those who wait, for failAll. The caller holds mu.
func (p *Pool) emptyQueueLocked() []*Waiter {
	out := p.mu.queue
	p.mu.queue = nil
	p.waiting.Store(0)
	for _, w := range out {
		w.done = true
	}
	return out
}

// failAll gives each of them the error, on its loop. The caller doesn't hold mu.
func failAll(waiters []*Waiter, err error) {
	for _, w := range waiters {
		w.local.loop.Post(func() { w.fail(err) })
	}
}

// AcquireOwned returns the idle connection of this shard whose sequence state is the owner's of this version, if there is one.
func (l *Local) AcquireOwned(owner Borrower, version uint64) *Conn {
	for i, c := range l.idle {
		if c.SequenceOwner == any(owner) && c.SequenceVersion == version && !l.pool.outdated(c) {
			l.idle = append(l.idle[:i], l.idle[i+1:]...)
			l.pool.idle.Add(-1)
			c.owner = owner
			return c
		}
	}
	return nil
}

// Own makes owner the borrower of c. The one who was granted a connection calls it before using it.
func (c *Conn) Own(owner Borrower) { c.owner = owner }

// Leave takes a waiter out of the queue; nothing is granted to it afterwards. A connection that is
// already on its way is given to the next. On the waiter's loop only.
func (l *Local) Leave(w *Waiter) {
	w.left = true
	l.pool.leave(w)
}

func (p *Pool) leave(w *Waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.done {
		return false
	}
	w.done = true
	for i, q := range p.mu.queue {
		if q == w {
			p.mu.queue = append(p.mu.queue[:i], p.mu.queue[i+1:]...)
			break
		}
	}
	p.waiting.Store(int32(len(p.mu.queue)))
	if w.timer != nil {
		w.timer.Stop()
	}
	return true
}

// feed looks for connections for those who wait: idle ones of any shard, else new ones.
func (p *Pool) feed() {
	if p.idle.Load() > 0 {
		for _, l := range p.locals {
			l.loop.Post(l.lend)
		}
	}
	p.grow()
}

// grow starts connections while more wait than are being made, up to the limit.
func (p *Pool) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.mu.closed && p.suspended.Load() == 0 && p.mu.making+int(p.idle.Load()) < len(p.mu.queue) && p.mu.total < p.opts.Size {
		p.mu.total++
		w := p.mu.queue[min(p.mu.making, len(p.mu.queue)-1)]
		p.mu.making++
		p.wg.Add(1)
		go p.connect(w.local, w.identity)
	}
}

// lend gives this shard's idle connections to those who wait. On the loop of l.
func (l *Local) lend() {
	p := l.pool
	for p.waiting.Load() > 0 {
		c := l.takeIdle()
		if c == nil {
			break
		}
		if !p.handOver(c) {
			l.putIdle(c)
			break
		}
	}
	if p.waiting.Load() > 0 {
		p.grow()
	}
}

// takeIdle returns a connection fit for use, or nil.
func (l *Local) takeIdle() *Conn {
	for n := len(l.idle); n > 0; n = len(l.idle) {
		c := l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
		l.pool.idle.Add(-1)
		if l.pool.outdated(c) {
			l.pool.forget(c)
			continue
		}
		return c
	}
	return nil
}

func (l *Local) putIdle(c *Conn) {
	c.owner = nil
	c.idleAt = l.loop.Now()
	l.idle = append(l.idle, c)
	l.pool.idle.Add(1)
}

// Release gives c back in a known, clean state: the server has said ReadyForQuery, outside of a
// transaction, and nothing is on its way. On the connection's loop.
func (c *Conn) Release() {
	if c.keeper != nil {
		c.owner = c.keeper
		return
	}
	c.owner = nil
	c.reused = true
	if c.closed {
		return
	}
	if c.cancels > 0 {
		// A cancel request that is still on its way would hit the next borrower (HAZARD 4).
		c.parked = true
		return
	}
	p := c.pool
	if p == nil {
		return // see NewConn
	}
	if p.outdated(c) {
		p.drop(c)
		return
	}
	if p.waiting.Load() > 0 && p.handOver(c) {
		return
	}
	c.home.putIdle(c)
	// Somebody may have begun to wait between the look and the put.
	if p.waiting.Load() > 0 {
		c.home.loop.Post(c.home.lend)
	}
}

// Discard closes c: its state is in doubt. On the connection's loop.
func (c *Conn) Discard() {
	c.owner = nil
	if c.pool != nil {
		c.pool.drop(c)
	} else if !c.closed {
		c.closed = true
		c.io.Close()
	}
}

// handOver gives a connection, owned by nobody, to who has waited longest. False: nobody waits, or the connection is closing and
// can't move to the shard of who does; then it is about to leave the books, and who waits gets another.
func (p *Pool) handOver(c *Conn) bool {
	from := c.home
	p.mu.Lock()
	if len(p.mu.queue) == 0 {
		p.mu.Unlock()
		return false
	}
	w := p.mu.queue[0]
	// Under the lock, so that nobody takes w for granted before it is known that c comes.
	if from != w.local && !c.raw.Detach(func(d shard.Detached) { w.attach(c, d) }) {
		p.mu.Unlock()
		return false
	}
	p.mu.queue[0] = nil
	p.mu.queue = p.mu.queue[1:]
	p.waiting.Store(int32(len(p.mu.queue)))
	w.done = true
	p.mu.Unlock()

	if from == w.local {
		// Not at once: the caller is in the middle of another session's event.
		from.loop.Post(func() { w.granted(c) })
		return true
	}
	delete(from.used, c)
	c.home = w.local
	return true
}

// attach brings a connection that has left its shard to the waiter's.
func (w *Waiter) attach(c *Conn, d shard.Detached) {
	w.local.loop.Post(func() {
		raw, err := w.local.loop.Attach(d, connHandler{c})
		if err != nil {
			c.pool.gone(c)
			w.fail(fmt.Errorf("moving a server connection: %w", err))
			return
		}
		c.raw, c.io = raw, raw
		w.local.used[c] = struct{}{}
		w.granted(c)
	})
}

func (w *Waiter) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *Waiter) granted(c *Conn) {
	w.stopTimer()
	if w.left {
		c.Release()
		return
	}
	if c.closed {
		w.fail(errors.New("the server closed the connection"))
		return
	}
	w.grant(c, nil)
}

func (w *Waiter) fail(err error) {
	w.stopTimer()
	if !w.left {
		w.grant(nil, err)
	}
}

// connect makes one connection, on a goroutine of its own, and gives it to whoever is first in the queue.
func (p *Pool) connect(l *Local, id auth.Identity) {
	defer p.wg.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.Connect)
	defer cancel()
	defaults := p.defaults() // before, so that what changes meanwhile counts
	login, epoch, err := p.login(ctx, id)
	if err != nil {
		p.connectFailed(err)
		return
	}
	if p.opts.Worked != nil {
		p.opts.Worked()
	}
	l.loop.Post(func() {
		c := &Conn{pool: p, home: l, pid: login.PID, secret: login.Secret, born: l.loop.Now(), epoch: epoch, defaults: defaults}
		raw, err := l.loop.Adopt(login.Conn, connHandler{c}, login.Leftover)
		if err != nil {
			login.Conn.Close()
			p.connectFailed(fmt.Errorf("taking over a new server connection: %w", err))
			return
		}
		c.raw, c.io = raw, raw
		l.used[c] = struct{}{}
		p.mu.Lock()
		p.mu.making--
		closed := p.mu.closed
		p.mu.Unlock()
		if closed || p.closing() {
			p.drop(c)
			return
		}
		switch {
		case p.handOver(c):
		case p.suspended.Load() > 0:
			p.drop(c)
		default:
			l.putIdle(c)
		}
		if p.waiting.Load() > 0 {
			p.grow()
		}
	})
}

// login makes a connection that is vouched for.
func (p *Pool) login(ctx context.Context, id auth.Identity) (*Login, uint64, error) {
	for {
		login, err := Connect(ctx, ConnectConfig{Target: p.target, Database: p.database, Identity: id})
		if err != nil || p.opts.Vouch == nil {
			return login, 0, err
		}
		epoch, err := p.opts.Vouch(func(sql string) (string, error) { return login.Ask(ctx, sql) })
		if err == nil {
			return login, epoch, nil
		}
		login.Conn.Close()
		select {
		case <-ctx.Done():
			return nil, 0, err
		case <-time.After(vouchRetry):
		}
	}
}

// outdated says whether the connection is one not to be lent again.
func (p *Pool) outdated(c *Conn) bool {
	return p.opts.Lifetime > 0 && c.home.loop.Now()-c.born > int64(p.opts.Lifetime) || p.opts.Epoch != nil && p.opts.Epoch() != c.epoch ||
		p.defaults() != c.defaults || p.suspended.Load() > 0 || p.closing()
}

func (p *Pool) closing() bool { return p.opts.Closing != nil && p.opts.Closing() }

func (p *Pool) defaults() uint64 {
	if p.opts.Defaults == nil {
		return 0
	}
	return p.opts.Defaults()
}

// Current says whether a new connection would begin with the same settings as this one did. Outside of a pool nobody knows of others.
func (c *Conn) Current() bool { return c.pool == nil || c.pool.defaults() == c.defaults }

// connectFailed tells those who wait, unless other connections can still serve them.
func (p *Pool) connectFailed(err error) {
	var pg *wire.Error
	full := errors.As(err, &pg) && pg.Code == "53300"
	if p.opts.Failed != nil && pg == nil && p.ctx.Err() == nil {
		p.opts.Failed(err)
	}
	p.mu.Lock()
	p.mu.making--
	p.mu.total--
	var failed []*Waiter
	if !full || p.mu.total == 0 {
		failed = p.emptyQueueLocked()
	}
	p.mu.Unlock()
	failAll(failed, err)
}

// drop closes a connection that is on its own loop.
func (p *Pool) drop(c *Conn) {
	if c.closed {
		return
	}
	for i, x := range c.home.idle {
		if x == c {
			c.home.idle = append(c.home.idle[:i], c.home.idle[i+1:]...)
			p.idle.Add(-1)
			break
		}
	}
	p.forget(c)
}

// forget closes a connection that isn't among the idle ones.
func (p *Pool) forget(c *Conn) {
	p.gone(c)
	c.io.Write(terminate)
	if c.raw != nil {
		c.raw.CloseAfterFlush()
	} else {
		c.io.Close()
	}
}

var terminate = wire.AppendTerminate(nil)

// lost takes a connection that the server closed out of the books.
func (p *Pool) lost(c *Conn) {
	for i, x := range c.home.idle {
		if x == c {
			c.home.idle = append(c.home.idle[:i], c.home.idle[i+1:]...)
			p.idle.Add(-1)
			break
		}
	}
	p.gone(c)
}

func (p *Pool) gone(c *Conn) {
	c.closed = true
	c.owner = nil
	delete(c.home.used, c)
	if c.sender != nil {
		p.opts.Senders.remove(c.pid, c.sender)
	}
	p.mu.Lock()
	p.mu.total--
	p.mu.Unlock()
	if p.waiting.Load() > 0 {
		p.grow()
	}
}

// Cancel asks the server to cancel what runs on c. The connection isn't lent to anybody else until the
// server has dealt with it, or it couldn't be delivered: then done is called, from any goroutine. On the connection's loop.
func (c *Conn) Cancel(done func()) {
	if c.pool == nil || c.closed {
		done()
		return
	}
	p, home := c.pool, c.home
	c.cancels++
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		ctx, cancel := context.WithTimeout(p.ctx, p.opts.Connect)
		defer cancel()
		err := SendCancel(ctx, p.target, c.pid, c.secret)
		done()
		home.loop.Post(func() { c.cancelDone(err) })
	}()
}

func (c *Conn) cancelDone(err error) {
	c.cancels--
	if err != nil && c.pool.opts.Logger != nil {
		c.pool.opts.Logger.Warn("a cancel request couldn't be delivered", "node", c.pool.target.String(), "error", err)
	}
	if c.cancels > 0 || !c.parked || c.closed {
		return
	}
	c.parked = false
	if err != nil {
		c.pool.drop(c) // it may still arrive
		return
	}
	c.Release()
}

// Sweep closes what has been idle for too long, and what is idle and too old to be lent. On the loop of l, every few seconds.
func (l *Local) Sweep() {
	p := l.pool
	for i := len(l.idle) - 1; i >= 0; i-- {
		c := l.idle[i]
		if p.opts.IdleTimeout > 0 && l.loop.Now()-c.idleAt > int64(p.opts.IdleTimeout) || p.outdated(c) {
			p.drop(c)
		}
	}
}

// Suspend has no new connections made and none kept idle until Resume. Who asks for one waits. It can be called several times, and takes as
// many calls of Resume then. Idle ones are closed by DropIdle.
func (p *Pool) Suspend() { p.suspended.Add(1) }

// Resume undoes one Suspend.
func (p *Pool) Resume() {
	if p.suspended.Add(-1) == 0 {
		p.grow()
	}
}

// DropIdle closes all idle connections of l. On the loop of l.
func (l *Local) DropIdle() {
	for len(l.idle) > 0 {
		l.pool.drop(l.idle[len(l.idle)-1])
	}
}

// Retire closes all idle connections of l, and the others when they come back: their state is outdated.
func (l *Local) Retire() {
	l.DropIdle()
	for c := range l.used {
		c.born = 0
	}
}

// Close refuses new borrowers, fails those who wait, closes all connections and waits for the goroutines
// that connect. The loops must still be running. It may be called twice.
func (p *Pool) Close() {
	p.mu.Lock()
	already := p.mu.closed
	p.mu.closed = true
	queue := p.mu.queue
	p.mu.queue = nil
	p.waiting.Store(0)
	for _, w := range queue {
		w.done = true
	}
	p.mu.Unlock()
	p.cancel()
	if already {
		p.wg.Wait()
		return
	}
	for _, w := range queue {
		w.local.loop.Post(func() { w.fail(ErrPoolClosed) })
	}
	for _, l := range p.locals {
		l.loop.Post(func() {
			for c := range l.used {
				owner := c.owner
				p.drop(c)
				if owner != nil {
					owner.ServerClosed(ErrPoolClosed)
				}
			}
		})
	}
	p.wg.Wait()
}
