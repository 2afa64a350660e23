package proxy

import (
	"encoding/binary"

	"github.com/freshet/freshet/proxy/wire"
)

// notification passes on a NotificationResponse. It begins with the pid of the notifying server process; by it clients know their own
// notifications, so the pid of the session's connection becomes the one that the client was told.
func (s *Session) notification(msg []byte) {
	const pid = wire.HeaderLen
	if len(msg) < pid+4 || binary.BigEndian.Uint32(msg[pid:]) != s.conn.PID() {
		s.toClientQuietly(msg)
		return
	}
	out := append(s.local.scratch[:0], msg...)
	binary.BigEndian.PutUint32(out[pid:], s.pid)
	s.toClientQuietly(out)
	s.local.scratch = out
}
