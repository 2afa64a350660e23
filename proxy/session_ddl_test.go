package proxy

import "testing"

// What is judged is judged beside the session, which goes on meanwhile.
func TestJudgementsThatComeLate(t *testing.T) {
	begin := func() *Session {
		s := &Session{phase: phaseRunning, bound: boundByDDL}
		s.ddl = ddlWindow{since: 1, ran: make([]ranStatement, 3), judging: true, ticket: 2}
		return s
	}
	s := begin()
	s.Judged(1, 3, "a window that is over") // of an earlier window
	if len(s.ddl.ran) != 3 || !s.ddl.judging || s.bound != boundByDDL {
		t.Errorf("a judgement of another window was taken: %+v, bound: %s", s.ddl, s.bound)
	}
	s.ddl.ran = append(s.ddl.ran, ranStatement{text: "later"})
	s.Judged(2, 3, "")
	if len(s.ddl.ran) != 1 || s.ddl.ran[0].text != "later" || s.ddl.judging {
		t.Errorf("what ran meanwhile isn't left to judge: %+v", s.ddl)
	}
	s = begin()
	s.ddl.ran, s.ddl.overrun = nil, true // too many meanwhile
	s.Judged(2, 3, "")
	if s.ddl.judging || !s.ddl.overrun {
		t.Errorf("after too many statements: %+v", s.ddl)
	}
}
