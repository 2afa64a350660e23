package proxy

import (
	"strconv"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/freshet/freshet/router"
)

// planners make plans beside the shards: libpg_query and name resolution take tens of microseconds and
// more. Sessions that ask for the same plan at once share one.
type planners struct {
	wg     sync.WaitGroup
	flight singleflight.Group
	mu     struct {
		sync.Mutex
		cond   *sync.Cond
		queue  []planJob
		closed bool
	}
}

type planJob struct {
	db   *Database
	req  PlanRequest
	done func(*router.Plan)

	judge  []PlanRequest // instead of req: what do these leave behind?
	judged func(binds string)
}

func newPlanners(n int) *planners {
	p := &planners{}
	p.mu.cond = sync.NewCond(&p.mu.Mutex)
	for range n {
		p.wg.Add(1)
		go p.run()
	}
	return p
}

// submit never blocks; done is called on another goroutine. Each session has at most one request under
// way, which bounds the queue.
func (p *planners) submit(db *Database, req PlanRequest, done func(*router.Plan)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.queue = append(p.mu.queue, planJob{db: db, req: req, done: done})
	p.mu.cond.Signal()
}

// judge tells what statements leave behind on their connection, by the current catalog. It never blocks; done is called on another goroutine.
func (p *planners) judge(db *Database, ran []PlanRequest, done func(binds string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.queue = append(p.mu.queue, planJob{db: db, judge: ran, judged: done})
	p.mu.cond.Signal()
}

func leftBehind(db *Database, ran []PlanRequest) string {
	for _, req := range ran {
		p := db.Planner.Plan(req.Text, req.Context)
		switch {
		case req.Executes && p.Kind == router.KindPrepare:
			p = p.Prepared
		case p.Executes():
			p = p.Resolve(func(string) *router.Plan { return nil }) // what its own text prepares
		}
		if p.Binds != "" && p.Kind != router.KindInvalid {
			return p.Binds
		}
	}
	return ""
}

func (p *planners) run() {
	defer p.wg.Done()
	for {
		p.mu.Lock()
		for len(p.mu.queue) == 0 && !p.mu.closed {
			p.mu.cond.Wait()
		}
		if p.mu.closed {
			p.mu.Unlock()
			return
		}
		job := p.mu.queue[0]
		p.mu.queue[0] = planJob{}
		p.mu.queue = p.mu.queue[1:]
		p.mu.Unlock()
		if job.judged != nil {
			job.judged(leftBehind(job.db, job.judge))
			continue
		}
		job.done(p.plan(job.db, job.req))
	}
}

func (p *planners) plan(db *Database, req PlanRequest) *router.Plan {
	if plan := db.Plans.Get(req.Key); plan != nil {
		return plan
	}
	id := db.Name + "\x00" + req.Key.Statement.String() + req.Key.Context.String() + strconv.FormatUint(req.Key.Generation, 36)
	v, _, _ := p.flight.Do(id, func() (any, error) {
		plan := db.Planner.Plan(req.Text, req.Context)
		if plan.Generation == req.Key.Generation {
			db.Plans.Put(req.Key, plan)
		}
		return plan, nil
	})
	return v.(*router.Plan)
}

func (p *planners) close() {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.queue = nil
	p.mu.cond.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
}
