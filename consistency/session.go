package consistency

import "time"

// Release says what ends a read-your-writes pin.
type Release uint8

// The two rules for the end of a pin.
const (
	CaughtUp Release = iota // as soon as a source has provably reached the write
	Window                  // the whole window, and then a source that has reached the write
)

// Verdict is the gate's answer for one source.
type Verdict uint8

// The verdicts; all but Admitted send the read elsewhere.
const (
	Admitted     Verdict = iota
	Writing              // a write of the session is under way
	Pinned               // the write's position is not known yet, or the window is not over
	BehindFloor          // the source has not reached the session's floor
	TooStale             // the source is behind the staleness bound
	NothingKnown         // the source has not said anything since it was reset
)

// Session is the floor and the pin of one session: of a connection, or of all connections that name the same session_key.
// Safe for concurrent use; what reads ask (Admits, Judge, Floor, Pinned) is lock-free and allocates nothing.
type Session struct{}

// NewSession makes a session without writes; window is the read-your-writes window.
func NewSession(window time.Duration, release Release) *Session { return &Session{} }

// WriteBegan is called before the first byte of a write goes to the primary. From here on reads go to the primary only.
func (s *Session) WriteBegan() {}

// WriteEnded is called when the write's answer is here and not yet forwarded, or its connection is lost. now must have been
// read (from Now) after the answer arrived. The ticket is for Learned.
func (s *Session) WriteEnded(now int64) (ticket uint64) { return 0 }

// Learned takes the answer to a question about the primary's position that was asked after WriteEnded gave the ticket.
func (s *Session) Learned(ticket uint64, lsn LSN) {}

// Saw raises the floor to what the session has been shown, so that it never goes back in time.
func (s *Session) Saw(lsn LSN) {}

// Floor is the position that a source must have reached to answer this session's reads, as far as it is known.
func (s *Session) Floor() LSN { return 0 }

// LowerFloor brings a floor beyond lsn back to it: after a failover that lost commits.
func (s *Session) LowerFloor(lsn LSN) {}

// Pinned says whether the session's reads go to the primary whatever the sources' positions are (but see Judge: a source
// whose AsOf proves that it contains a write is admitted before the write's position is known).
func (s *Session) Pinned(now int64) bool { return true }

// Admits is the gate: may src answer a read of this session? refNow is the instant that staleness is measured against,
// bound the most that is allowed.
func (s *Session) Admits(src *Source, refNow int64, bound time.Duration) bool {
	return s.Judge(src, refNow, bound) == Admitted
}

// Judge is Admits with the reason.
func (s *Session) Judge(src *Source, refNow int64, bound time.Duration) Verdict { return NothingKnown }
