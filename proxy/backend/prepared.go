package backend

import (
	"maps"
	"math"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Prepared are the statements that are known to exist on the server side of a connection: clients', in the order of their last use, and
// Freshet's own, which are few and stay. The zero value is empty.
type Prepared struct {
	own     map[uint64]string              // names, too
	clients *simplelru.LRU[uint64, string] // by number: the names on the server
}

// Has says whether the statement of a number is there.
func (p *Prepared) Has(id uint64) bool {
	if _, ok := p.own[id]; ok {
		return true
	}
	return p.clients != nil && p.clients.Contains(id)
}

// Use is Has, and counts as a use of the statement.
func (p *Prepared) Use(id uint64) bool {
	if p.clients != nil {
		if _, ok := p.clients.Get(id); ok {
			return true
		}
	}
	_, ok := p.own[id]
	return ok
}

// Add notes a client's statement that has been prepared, and its name on the server.
func (p *Prepared) Add(id uint64, name string) {
	if p.clients == nil {
		p.clients, _ = simplelru.NewLRU[uint64, string](math.MaxInt, nil) // how many there may be is for the borrower to say
	}
	p.clients.Add(id, name)
}

// AddOwn notes one of Freshet's own, and its name on the server.
func (p *Prepared) AddOwn(id uint64, name string) {
	if p.own == nil {
		p.own = make(map[uint64]string)
	}
	p.own[id] = name
}

// Names are the names on the server of all that are there.
func (p *Prepared) Names() []string {
	names := slices.Collect(maps.Values(p.own))
	if p.clients != nil {
		names = append(names, p.clients.Values()...)
	}
	return names
}

// All are the numbers of all that are there, with their names on the server.
func (p *Prepared) All() map[uint64]string {
	all := make(map[uint64]string, len(p.own)+p.Clients())
	maps.Copy(all, p.own)
	if p.clients != nil {
		for _, id := range p.clients.Keys() {
			all[id], _ = p.clients.Peek(id)
		}
	}
	return all
}

// Remove notes that a statement is gone.
func (p *Prepared) Remove(id uint64) {
	delete(p.own, id)
	if p.clients != nil {
		p.clients.Remove(id)
	}
}

// Clear notes that all are gone.
func (p *Prepared) Clear() {
	clear(p.own)
	p.clients = nil
}

// Empty says whether nothing is there.
func (p *Prepared) Empty() bool { return len(p.own) == 0 && p.Clients() == 0 }

// Clients says how many there are of clients'.
func (p *Prepared) Clients() int {
	if p.clients == nil {
		return 0
	}
	return p.clients.Len()
}

// Oldest returns the clients' statement that wasn't used for longest, of those for which skip says false; skipping counts as a use.
func (p *Prepared) Oldest(skip func(id uint64) bool) (id uint64, name string, ok bool) {
	for range p.Clients() {
		id, name, _ = p.clients.GetOldest()
		if !skip(id) {
			return id, name, true
		}
		p.clients.Get(id)
	}
	return 0, "", false
}
