package proxy

import (
	"encoding/binary"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// A NotificationResponse begins with the number of the server process that has notified; clients know themselves, and each other, by the numbers that they were told
// when they connected. A session that listens is bound: what comes from the process of its connection is its own, and nothing else is. (What was sent over that
// connection before the session began to listen, by whomever, isn't delivered to it.) For others' the number of whoever has used the sender's connection is told
// where that is known, and could be one only. Else the number stays as it is, which is nobody's that Freshet has told.

// notification passes on a NotificationResponse.
func (s *Session) notification(msg []byte) {
	const at = wire.HeaderLen
	if len(msg) < at+4 {
		s.toClientQuietly(msg)
		return
	}
	pid := binary.BigEndian.Uint32(msg[at:])
	told := pid
	if pid == s.conn.PID() {
		told = s.pid
	} else if s.home == nil { // else all are known by their connections
		if client, ok := s.conn.Notified(pid, s.notifiedSince()); ok && client != s.pid {
			told = client
		}
	}
	if told == pid {
		s.toClientQuietly(msg)
		return
	}
	out := append(s.local.scratch[:0], msg...)
	binary.BigEndian.PutUint32(out[at:], told)
	s.toClientQuietly(out)
	s.local.scratch = out
}

// notificationDelay is how long a notification takes to get to a listener that is idle, at most: if it takes longer, it may be said to be of another client
// than it is of.
const notificationDelay = int64(100 * time.Millisecond)

// notifiedSince says since when a notification that comes now may have been under way. Postgres delivers them when the listener isn't in a transaction.
func (s *Session) notifiedSince() int64 {
	since := s.env.Now()
	switch {
	case s.txBegan != 0:
		since = min(since, s.txBegan)
	case s.head() != nil:
		since = min(since, s.unit.start)
	}
	return since - notificationDelay
}

// mayNotify says whether the unit may notify somebody, as far as that is known.
func (s *Session) mayNotify() bool {
	if s.bound == boundByDDL {
		return true // there may be triggers of which the plan doesn't know
	}
	for _, e := range s.unit.effects {
		if e.plan.Notifies {
			return true
		}
	}
	return len(s.unit.effects) == 0 // a function call message
}

// noteSender notes that the session is about to send what may notify over the server connection in hand.
func (s *Session) noteSender() {
	if s.sender = s.conn.Sender(); s.sender != nil {
		s.sender.Begin(s.pid, s.env.Now())
	}
}
