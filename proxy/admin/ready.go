package admin

// Statuses of a part and of the whole.
const (
	statusOK       = "ok"
	statusDegraded = "degraded" // works, but less well than it should
	statusDown     = "down"     // a part doesn't work; of the whole: no read can be answered
	statusOff      = "off"      // by configuration
	statusDraining = "draining" // of the whole: no new clients
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready    bool   `json:"ready"`
	Status   string `json:"status"`
	Primary  part   `json:"primary"`
	Replicas []part `json:"replicas"`
	Feeds    []part `json:"feeds"` // one for each database in use
	Cache    part   `json:"cache"`
}

// part is one thing that can be well or not.
type part struct {
	Name   string `json:"name,omitempty"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"` // why it isn't "ok"
}

// judge says whether reads can be answered, and what is degraded: ready as
// long as there is a primary or a replica to send them to, whatever else is
// missing.
func judge(s Snapshot) readiness {
	r := readiness{
		Primary:  part{Status: statusDown, Reason: "no primary is known: writes fail"},
		Replicas: []part{},
		Feeds:    []part{},
		Cache:    part{Status: statusOK},
	}
	readable := false
	for _, n := range s.Nodes {
		p := part{Name: n.Name, Status: statusOK}
		if !n.used() {
			p.Status, p.Reason = statusDown, Redact(n.Reason)
			if p.Reason == "" {
				p.Reason = "it doesn't answer"
			}
		}
		readable = readable || n.used() && (n.Primary || n.Role == "replica")
		if n.Primary {
			r.Primary = p
		} else {
			r.Replicas = append(r.Replicas, p)
		}
	}
	serving := 0
	for _, f := range s.Feeds {
		p := part{Name: f.Database, Status: statusOK, Reason: Redact(f.Reason)}
		switch {
		case f.Serving:
			serving++
			if f.Reason != "" {
				p.Status = statusDegraded
			}
		default:
			p.Status = statusDown
			if f.Reason == "" {
				p.Reason = "it isn't caught up"
			}
		}
		r.Feeds = append(r.Feeds, p)
	}
	switch {
	case s.CacheOff:
		r.Cache = part{Status: statusOff, Reason: "--cache=off"}
	case serving < len(s.Feeds):
		r.Cache = part{Status: statusDegraded, Reason: "not used for databases whose feed isn't caught up"}
		if serving == 0 {
			r.Cache = part{Status: statusDown, Reason: "no database's feed is caught up: nothing is answered from it"}
		}
	}

	r.Ready = readable && !s.Draining
	switch {
	case !readable:
		r.Status = statusDown
	case s.Draining:
		r.Status = statusDraining
	case r.allWell():
		r.Status = statusOK
	default:
		r.Status = statusDegraded
	}
	return r
}

func (r readiness) allWell() bool {
	for _, p := range r.parts() {
		if p.Status != statusOK && p.Status != statusOff {
			return false
		}
	}
	return true
}

// parts are all parts, for a list.
func (r readiness) parts() []namedPart {
	list := []namedPart{{"primary", r.Primary}}
	for _, p := range r.Replicas {
		list = append(list, namedPart{"replica", p})
	}
	for _, p := range r.Feeds {
		list = append(list, namedPart{"feed", p})
	}
	return append(list, namedPart{"cache", r.Cache})
}

type namedPart struct {
	Kind string
	part
}
