package backend

import "sync"

// A notification tells the process of the server that it came from. Clients know each other by other numbers, those that Freshet has told them. Senders
// translate: for each server process over whose connection notifications may have been sent, whose they were.

// Senders are those of one node. Safe for concurrent use.
type Senders struct {
	mu struct {
		sync.RWMutex
		byPID map[uint32]*Sender
	}
}

// Sender tells who has used one server connection for what may notify.
type Sender struct {
	mu struct {
		sync.Mutex
		client uint32 // the last one; 0: nobody
		using  bool   // it still has the connection
		until  int64  // if not: when it gave it back, unix nanoseconds
		others int64  // when the last other client had given it back; 0: there was none
	}
}

// Sender returns what is known of c's clients that send notifications; nil where nobody wants to know. It is the same for as long as c is
// open. On the connection's loop.
func (c *Conn) Sender() *Sender {
	if c.sender != nil || c.pool == nil || c.pool.opts.Senders == nil || c.closed {
		return c.sender
	}
	c.sender = &Sender{}
	n := c.pool.opts.Senders
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.byPID == nil {
		n.mu.byPID = make(map[uint32]*Sender)
	}
	n.mu.byPID[c.pid] = c.sender
	return c.sender
}

// Notified returns who has sent a notification that came from the process pid of c's node, at since (unix nanoseconds) or later. False: that
// isn't known, or could be several.
func (c *Conn) Notified(pid uint32, since int64) (client uint32, ok bool) {
	if c.pool == nil || c.pool.opts.Senders == nil {
		return 0, false
	}
	n := c.pool.opts.Senders
	n.mu.RLock()
	s := n.mu.byPID[pid]
	n.mu.RUnlock()
	if s == nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.client, s.mu.client != 0 && (s.mu.others == 0 || s.mu.others < since)
}

// Begin notes that client is about to use the connection, now (unix nanoseconds), for what may notify.
func (s *Sender) Begin(client uint32, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.client != client {
		switch {
		case s.mu.using:
			s.mu.others = now
		case s.mu.client != 0:
			s.mu.others = s.mu.until
		}
		s.mu.client = client
	}
	s.mu.using = true
}

// End notes that client gives the connection back, at now (unix nanoseconds).
func (s *Sender) End(client uint32, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.client == client && s.mu.using {
		s.mu.using, s.mu.until = false, now
	}
}

// remove forgets a process that has ended: there may be another one by its number.
func (n *Senders) remove(pid uint32, s *Sender) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.byPID[pid] == s {
		delete(n.mu.byPID, pid)
	}
}
