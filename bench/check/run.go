package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
)

// Config says what to run.
type Config struct {
	Freshet   string        // the program
	Variables []string      // of its environment, added to ours
	Serve     []string      // more flags for its serve
	Replicas  int           // streaming replicas
	Clients   int           // through Freshet
	Past      int           // writers past it
	Level     string        // eventual, session, strong, or mixed: each client has one of the three
	For       time.Duration // how long; 0: until Ops
	Ops       int64         // how many statements through Freshet; 0: until For is over
	Seed      uint64        // of what clients do and what is broken; the timing isn't part of it
	Faults    []string      // names of faults; see Faults
	Bound     time.Duration // Freshet's --max-staleness
	Most      int           // violations after which it stops
	Allow     []string      // rules whose violations are counted only
	Out       io.Writer     // progress
}

// Levels are what Config.Level may be.
var Levels = []string{string(Eventual), string(Session), string(Strong), "mixed"}

// run is a check under way.
type run struct {
	cfg   Config
	lab   *lab
	start time.Time

	registers [tables][]*object
	pairs     []*object
	lists     []*object
	view      *object
	bulk      *object
	seats     []*object
	byID      map[int64]*object // registers
	keyed     []*session        // by session key

	calm    atomic.Int64 // the table of registers that most writes leave alone, so that it is cached
	quiet   atomic.Bool  // most clients only read
	hasty   *past        // writes while commits are stalled, without waiting itself
	stalled atomic.Bool  // commits wait: who writes does nothing else then
	stop    context.CancelFunc
	beside  sync.WaitGroup // what goes on beside the clients
	judges  chan struct{}
	queued  atomic.Int64 // histories for porcupine

	asks struct { // the connection that asks the journal
		sync.Mutex
		conn *pgx.Conn
		url  string
	}

	total  atomic.Int64 // statements through Freshet
	counts counts

	mu struct {
		sync.Mutex
		violations []*Violation
		broken     []fault // what is or was broken, for the report
		failed     error   // of the check itself
	}
}

type fault struct {
	name         string
	began, ended instant
}

func (r *run) now() instant { return instant(time.Since(r.start)) }

// Run runs the check. The error says why it couldn't be run to its end; violations are in the report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	r := &run{cfg: cfg, judges: make(chan struct{}, 1)}
	r.counts.init()
	if r.lab, err = startLab(ctx, cfg); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.lab.stop()) }()
	r.makeObjects()
	r.hasty = newPast(r, cfg.Clients+cfg.Past)
	r.hasty.hasty = true
	before, err := r.lab.sources(ctx)
	if err != nil {
		return nil, err
	}
	r.start = time.Now()
	if err := r.work(ctx); err != nil {
		return nil, err
	}
	took := time.Since(r.start)
	r.beside.Wait()
	ctx = context.WithoutCancel(ctx) // who interrupts it wants to see what was found
	after, err := r.lab.sources(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.violations()) == 0 {
		if err := r.audit(ctx); err != nil {
			return nil, err
		}
	}
	return r.report(took, before, after), nil
}

func (r *run) makeObjects() {
	strong := r.cfg.Level == string(Strong) || r.cfg.Level == "mixed"
	r.byID = map[int64]*object{}
	add := func(k kind, id int64) *object {
		o := newObject(k, id)
		o.strong.active, o.strong.judge = strong, r.judge
		return o
	}
	for t := range tables {
		for i := range registers {
			o := add(register, int64(100*t+i))
			o.table = t
			r.registers[t] = append(r.registers[t], o)
			r.byID[o.id] = o
		}
	}
	for i := range pairs {
		r.pairs = append(r.pairs, add(pair, int64(i)))
	}
	for i := range lists {
		r.lists = append(r.lists, add(list, int64(i)))
	}
	r.view, r.bulk = add(view, 0), add(bulk, 0)
	for i := range seats {
		o := add(seat, int64(i))
		o.table = i % len(seatTables)
		r.seats = append(r.seats, o)
	}
	for i := range max(1, r.cfg.Clients/8) {
		r.keyed = append(r.keyed, newSession(fmt.Sprintf("key%d", i)))
	}
}

func (r *run) objects() []*object {
	var all []*object
	for _, t := range r.registers {
		all = append(all, t...)
	}
	return append(append(append(append(all, r.pairs...), r.lists...), r.seats...), r.view, r.bulk)
}

// work runs clients, writers and faults until it is over.
func (r *run) work(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r.stop = stop
	if r.cfg.For > 0 {
		defer time.AfterFunc(r.cfg.For, stop).Stop()
	}
	var all sync.WaitGroup
	faultsOver := make(chan struct{})
	go func() {
		defer close(faultsOver)
		r.runFaults(ctx)
	}()
	all.Go(func() { r.moveCalm(ctx) })
	all.Go(func() { r.auditWhile(ctx) })
	for i := range r.cfg.Clients {
		all.Go(func() { newClient(r, i).run(ctx) })
	}
	for i := range r.cfg.Past {
		all.Go(func() { newPast(r, r.cfg.Clients+i).run(ctx) })
	}
	<-ctx.Done()
	// What was broken is mended first: clients may be waiting for it.
	<-faultsOver
	all.Wait()
	r.hasty.close()
	if r.asks.conn != nil {
		_ = r.asks.conn.Close(context.WithoutCancel(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.failed
}

// moveCalm has another table left alone now and then, and now and then all of them.
func (r *run) moveCalm(ctx context.Context) {
	rng := rand.New(rand.NewPCG(r.cfg.Seed, 1<<40))
	for ctx.Err() == nil {
		r.calm.Store(int64(rng.IntN(tables)))
		r.quiet.Store(rng.IntN(3) == 0)
		sleep(ctx, time.Duration(50+rng.IntN(800))*time.Millisecond)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// failed ends the check because of itself.
func (r *run) failed(err error) {
	r.mu.Lock()
	if r.mu.failed == nil {
		r.mu.failed = err
	}
	r.mu.Unlock()
	r.stop()
}

// violated notes a violation; after enough of them it is over.
func (r *run) violated(v *Violation, c *client) {
	if v == nil {
		return
	}
	if slices.Contains(r.cfg.Allow, v.Rule) {
		r.counts.allowed.Add(1)
		return
	}
	now := r.now()
	if c != nil {
		v.client = c.statements()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.mu.broken {
		switch {
		case f.ended == 0:
			v.faults = append(v.faults, fmt.Sprintf("%s, since %v", f.name, f.began))
		case f.ended > now-5e9:
			v.faults = append(v.faults, fmt.Sprintf("%s, from %v to %v", f.name, f.began, f.ended))
		}
	}
	if len(r.mu.violations) < r.cfg.Most {
		r.mu.violations = append(r.mu.violations, v)
	}
	if len(r.mu.violations) >= r.cfg.Most {
		r.stop()
	}
}

func (r *run) violations() []*Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.violations
}

// mostQueued histories wait for porcupine at most.
const mostQueued = 64

// judge gives a window of an object's history to porcupine.
func (r *run) judge(o *object, h []porcupine.Operation) {
	first := h[0].Input.(input).n
	if r.queued.Add(1) > mostQueued {
		r.queued.Add(-1)
		r.counts.undecided.Add(1)
		return
	}
	r.beside.Go(func() {
		r.judges <- struct{}{}
		defer func() { <-r.judges; r.queued.Add(-1) }()
		switch porcupine.CheckOperationsTimeout(versionsModel(first), h, 2*time.Second) {
		case porcupine.Illegal:
			r.counts.windows.Add(1)
			r.violated(&Violation{Rule: ruleLinearizable, Object: o.String(), Detail: fmt.Sprintf("porcupine finds no order for the %d operations from version %d on", len(h), first), events: historyOf(h)}, nil)
		case porcupine.Unknown:
			r.counts.undecided.Add(1)
		default:
			r.counts.windows.Add(1)
		}
	})
}

func historyOf(h []porcupine.Operation) []event {
	var list []event
	for _, op := range h {
		e := event{began: instant(op.Call), ended: instant(op.Return), what: "read", n: op.Input.(input).n}
		if op.Input.(input).write {
			e.what = "write"
		}
		list = append(list, e)
	}
	return list
}
