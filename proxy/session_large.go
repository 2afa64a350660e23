package proxy

import (
	"bytes"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// Messages of the client that are too large to be held are passed on in pieces. The names in a Bind, which may have to be replaced, are at
// its beginning. A Query is held as long as it may be planned; beyond that nothing is known about it.
const (
	maxQuery    = 16 << 20 // a larger Query isn't looked at
	maxBindHead = 16 << 10 // the names in a Bind are found in its first bytes
)

var largePlan = router.UnknownPlan("a text of more than 16 MiB")

// isLarge says whether p begins with a message of this type that is longer than what there is of it, and than most.
func isLarge(p []byte, typ byte, most int) bool {
	if len(p) < wire.HeaderLen || p[0] != typ {
		return false
	}
	_, n, err := wire.Frame(p)
	return err == nil && n > len(p) && n > most && n-1 <= wire.FrontendLimit(typ)
}

// largeQuery takes the beginning of a Query. copyRest passes on what follows.
func (s *Session) largeQuery(p []byte) int {
	_, n, _ := wire.Frame(p)
	u := &s.unit
	s.begin()
	u.simple = true
	s.unnamed = nil
	s.ghost.st, s.held.portal = nil, false
	u.plan, u.writes, u.primary, u.binds = largePlan, true, true, largePlan.Binds
	s.inBody, s.inBodyDropped = n-len(p), false
	s.hold(p)
	s.run()
	return len(p)
}

// largeBind takes the beginning of a Bind in a stream. copyRest passes on what follows.
func (s *Session) largeBind(p []byte) int {
	_, n, _ := wire.Frame(p)
	u := &s.unit
	if u.skipping {
		s.inBody, s.inBodyDropped = n-len(p), true
		return len(p)
	}
	portal, rest, ok := bytes.Cut(p[wire.HeaderLen:], []byte{0})
	name, rest, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 {
		if len(p) > maxBindHead {
			s.fatal(wire.Fatal("08P01", "invalid message format"))
		}
		return 0
	}
	st := s.lookup(name)
	if st != nil && s.plan(st) == nil {
		u.steps = u.steps[:0]
		s.askPlan(st)
		return 0
	}
	s.setPortal(portal, st)
	s.local.out = s.local.out[:0]
	if st == nil {
		s.local.out = s.poison(s.local.out)
		s.expect(expect{kind: exParse, replace: noSuchStatement(name)})
		s.conn.Write(s.local.out)
		s.inBody, s.inBodyDropped = n-len(p), true
		return len(p)
	}
	out := s.ensurePrepared(s.conn, st, s.local.out)
	if len(portal) == 0 {
		s.ghost.now, s.ghost.st = nil, nil
	}
	out = wire.AppendHeader(out, wire.MsgBind, n-wire.HeaderLen-len(name)+len(st.name))
	out = append(append(out, portal...), 0)
	out = append(append(out, st.name...), 0)
	s.local.out = append(out, rest...)
	s.expect(expect{kind: exBind, step: -1, nameHash: hashOfName(name)})
	s.conn.Write(s.local.out)
	s.inBody, s.inBodyDropped = n-len(p), false
	return len(p)
}
