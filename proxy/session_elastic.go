package proxy

// A client that sends a long pipeline before it reads anything can't be held back without holding it back for ever: it doesn't read until
// it has sent everything. What it has been sent meanwhile has to be kept here. All clients together get elasticBudget bytes for that;
// when it is used up such clients wait, as they would with Postgres itself, where it ends with the socket's buffers.
const (
	elasticBudget = 1 << 30
	elasticMost   = 256 << 20 // for one client
	elasticStep   = 4 << 20
)

// mayBuffer is how many bytes may wait for a client that is still sending. It borrows what is needed, as long as there is some.
func (s *Session) mayBuffer() int {
	for s.env.ClientBuffered() > clientHighWater+s.borrowed && s.borrowed < elasticMost {
		if s.shared.elastic.Add(elasticStep) > elasticBudget {
			s.shared.elastic.Add(-elasticStep)
			break
		}
		s.borrowed += elasticStep
	}
	return clientHighWater + s.borrowed
}

// giveBack returns what was borrowed, once the client has taken most of what waited for it, or is gone.
func (s *Session) giveBack() {
	s.shared.elastic.Add(-int64(s.borrowed))
	s.borrowed = 0
}
