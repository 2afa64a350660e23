package consistency

import "time"

// Level says how fresh the reads of a session, or of one statement, have to be.
type Level uint8

// The levels. The zero value is none of them: what another setting says.
const (
	LevelUnset   Level = iota
	Eventual           // within the staleness bound, whatever the session has written or seen
	SessionLevel       // the session's own writes, and never back in time
	Strong             // every write that was acknowledged before the read began, whoever wrote it
)

// ParseLevel reads the value of --consistency and freshet.consistency.
func ParseLevel[T ~string | ~[]byte](value T) (Level, bool) {
	switch string(value) {
	case "eventual":
		return Eventual, true
	case "session":
		return SessionLevel, true
	case "strong":
		return Strong, true
	}
	return LevelUnset, false
}

// String is the level's name in settings; empty for LevelUnset.
func (l Level) String() string {
	switch l {
	case Eventual:
		return "eventual"
	case SessionLevel:
		return "session"
	case Strong:
		return "strong"
	}
	return ""
}

// Read is what a read asks of the source that answers it.
type Read struct {
	Level  Level
	RefNow int64         // the instant (by Now) that staleness is measured against
	Bound  time.Duration // the most staleness that is allowed
	// Primary knows where the primary was, in the sense of Source.Until; nil: nobody does.
	Primary *Source
	Floor   LSN // Strong: where the primary was, asked after the read arrived; 0: not known yet
}
