package proxy

// Refill runs the messages in a session that is like s and has no client: what it answers is only for the cache. It begins in
// another turn of the loop, since s is in the middle of one.
func (c *client) Refill(s *Session, key, msgs []byte) {
	r := &client{srv: c.srv, shard: c.shard, loop: c.loop, user: c.user, database: c.database, identity: c.identity, refills: key}
	r.session = s.refiller(r)
	r.initTimers()
	posted := r.loop.Post(func() {
		r.do(func() {
			r.session.ClientData(msgs)
			r.session.Drain() // when it has been answered
		})
	})
	if !posted { // the loop has ended
		c.srv.cfg.Shared.refills.end(key)
	}
}

// Refilling is how many answers are being fetched anew for others. Safe for concurrent use.
func (s *Server) Refilling() int {
	r := &s.cfg.Shared.refills
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// doAlone runs fn as an event of a session without a client: if it panics, that session ends, and nothing else.
func (c *client) doAlone(fn func()) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.log.Error("fetching an answer for the cache failed", "panic", p)
			c.session.ClientClosed(nil)
			c.Ended(c.session)
		}
	}()
	fn()
}
