package proxy

import (
	"math"

	"github.com/freshet/freshet/proxy/wire"
)

// SetMaxClients changes Config.MaxClients. Those who are in stay. Safe for concurrent use.
func (s *Server) SetMaxClients(n int) {
	if n <= 0 {
		n = math.MaxInt
	}
	s.maxClients.Store(int64(n))
}

// takeSeat makes room for a client that has said who it wants to be, before anything is done for it: what costs, and its
// password, come later. Everyone who was given a seat leaves it.
func (s *Server) takeSeat() error {
	most := s.maxClients.Load()
	for {
		n := s.seats.Load()
		if n >= most {
			return wire.Fatal("53300", "sorry, too many clients already").WithHint("Freshet's --max-clients is %d.", most)
		}
		if s.seats.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (s *Server) leaveSeat() { s.seats.Add(-1) }

// minPending is how many may be on their way in at least.
const minPending = 1000

// crowdedLocked reports whether so many connections are on their way in that further ones are closed at once: those who
// say nothing cost a goroutine and a descriptor each, until their time is over. The caller holds mu.
func (s *Server) crowdedLocked() bool {
	return int64(len(s.mu.pending)) >= max(minPending, s.maxClients.Load())
}

// hasServers reports whether there is a connection, to whatever node, by which sessions of that user and database can be
// served. Safe for concurrent use.
func (s *Server) hasServers(database, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.mu.pools {
		if k.database == database && k.user == user {
			if st := p.Stats(); st.Total > st.Making {
				return true
			}
		}
	}
	return false
}
