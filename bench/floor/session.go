package main

import (
	"encoding/binary"

	"github.com/freshet/freshet/proxy/shard"
)

// session is one client. It keeps no more of what arrives than the header of the message at hand.
type session struct {
	started bool
	header  [8]byte // type and length; before the start: length and code
	have    int     // bytes in header
	body    int     // bytes of the body still to come
	first   byte    // of the body
}

// Codes that may stand in place of the protocol version.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssEncRequest = 80877104
)

// Data answers the messages in p.
func (s *session) Data(c *shard.Conn, p []byte) {
	for len(p) > 0 {
		if s.body == 0 {
			n := copy(s.header[s.have:s.headerLen()], p)
			s.have += n
			p = p[n:]
			if s.have < s.headerLen() {
				return
			}
			if !s.begin() {
				c.Close()
				return
			}
		}
		if s.body > 0 {
			if s.first == 0 && len(p) > 0 {
				s.first = p[0]
			}
			n := min(s.body, len(p))
			s.body -= n
			p = p[n:]
			if s.body > 0 {
				return
			}
		}
		s.answer(c)
		s.have, s.first = 0, 0
	}
}

func (s *session) headerLen() int {
	if s.started {
		return 5
	}
	return 8
}

// begin works out how long the message's body is. False: it makes no sense.
func (s *session) begin() bool {
	length := s.header[1:5]
	rest := 4
	if !s.started {
		length, rest = s.header[:4], 8
	}
	n := int(int32(binary.BigEndian.Uint32(length)))
	s.body = n - rest
	return n >= rest && n <= 0x3fffffff
}

// answer answers the message whose header is here and whose body has passed.
func (s *session) answer(c *shard.Conn) {
	if !s.started {
		switch binary.BigEndian.Uint32(s.header[4:]) {
		case sslRequest, gssEncRequest:
			c.Write([]byte{'N'})
		case cancelRequest:
			c.Close()
		default:
			s.started = true
			c.Write(welcome)
		}
		return
	}
	switch s.header[0] {
	case 'Q':
		c.Write(simpleAnswer)
	case 'P':
		c.Write(parseComplete)
	case 'B':
		c.Write(bindComplete)
	case 'D':
		if s.first == 'S' {
			c.Write(parameterDescription)
		}
		c.Write(rowDescription)
	case 'E':
		c.Write(executeAnswer)
	case 'C':
		c.Write(closeComplete)
	case 'S':
		c.Write(readyForQuery)
	case 'X':
		c.CloseAfterFlush() // answers of this very turn haven't left yet
	}
}

// Closed has nothing to clean up.
func (s *session) Closed(*shard.Conn, error) {}

// Drained never matters: answers aren't held back.
func (s *session) Drained(*shard.Conn) {}
