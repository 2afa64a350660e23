package consistency

import "slices"

// Wait is somebody's wait for a source to reach a position.
type Wait struct {
	source *Source
	lsn    LSN
	fn     func()
}

// Await calls fn, once, when the source has reached lsn or has been reset; within this call if it is there already. fn runs
// on whatever goroutine moves the source, with no lock held; it must not block. Cancel ends the wait.
func (s *Source) Await(lsn LSN, fn func()) *Wait {
	w := &Wait{source: s, lsn: lsn, fn: fn}
	s.mu.Lock()
	reached := s.Position() >= lsn
	if !reached {
		s.mu.waits = append(s.mu.waits, w)
	}
	s.mu.Unlock()
	if reached {
		fn()
	}
	return w
}

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

// reachedLocked takes out those who have waited for no more than lsn.
func (s *Source) reachedLocked(lsn LSN) []*Wait {
	if len(s.mu.waits) == 0 {
		return nil
	}
	var woken []*Wait
	s.mu.waits = slices.DeleteFunc(s.mu.waits, func(w *Wait) bool {
		if w.lsn <= lsn {
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
