package consistency

import "slices"

// Wait is somebody's wait for a source to reach a position, or to say where it is.
type Wait struct {
	source *Source
	lsn    LSN
	at     int64 // an answer to a question that was sent later is wanted; −1: any
	fn     func()
}

// Await calls fn, once, when the source has reached lsn or has been reset; within this call if it is there already. fn runs
// on whatever goroutine moves the source, with no lock held; it must not block. Cancel ends the wait.
func (s *Source) Await(lsn LSN, fn func()) *Wait {
	return s.wait(&Wait{source: s, lsn: lsn, at: -1, fn: fn})
}

// AwaitUntil is Await for Until to know about the instant at.
func (s *Source) AwaitUntil(at int64, fn func()) *Wait {
	return s.wait(&Wait{source: s, at: at, fn: fn})
}

func (s *Source) wait(w *Wait) *Wait {
	s.mu.Lock()
	over := s.over(w)
	if !over {
		s.mu.waits = append(s.mu.waits, w)
	}
	s.mu.Unlock()
	if over {
		w.fn()
	}
	return w
}

func (s *Source) over(w *Wait) bool { return s.Position() >= w.lsn && s.asked.Load() > w.at }

// Awaited says whether somebody waits for the source to move.
func (s *Source) Awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.waits) > 0
}

// Cancel ends the wait. fn may be running, or have run, all the same.
func (w *Wait) Cancel() {
	s := w.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.mu.waits, w); i >= 0 {
		s.mu.waits = slices.Delete(s.mu.waits, i, i+1)
	}
}

// wokenLocked takes out those whose wait is over.
func (s *Source) wokenLocked() []*Wait { return s.takeLocked(s.over) }

func (s *Source) takeLocked(over func(*Wait) bool) []*Wait {
	if len(s.mu.waits) == 0 {
		return nil
	}
	var woken []*Wait
	s.mu.waits = slices.DeleteFunc(s.mu.waits, func(w *Wait) bool {
		if over(w) {
			woken = append(woken, w)
			return true
		}
		return false
	})
	return woken
}

func wake(waits []*Wait) {
	for _, w := range waits {
		w.fn()
	}
}
