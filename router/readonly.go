package router

// Reads says whether a text has nothing in it but reads that any node may answer: one, or several, which are one transaction and go to one node.
func (p *Plan) Reads() bool {
	if p.Kind != KindMulti {
		return p.Kind == KindRead && !p.OnPrimary && !p.Writes
	}
	for _, part := range p.Parts {
		if !part.Reads() || part.Binds != "" || part.Assigns != nil {
			return false
		}
	}
	return true
}

// replicaToo tells whether a replica does the same as the primary with a statement in a READ ONLY transaction. Both refuse
// INSERT and its like, in the same words. What a primary allows there and a replica doesn't (LISTEN, LOCK, unlogged
// tables), or does elsewhere (advisory locks), isn't the same.
func (p *Plan) replicaToo() bool {
	switch p.Kind {
	case KindRead:
		return !p.OnPrimary && !p.Writes && p.Binds == ""
	case KindBegin, KindCommit, KindRollback, KindSavepoint, KindRelease, KindRollbackTo, KindEmpty, KindShow:
		return true
	case KindDiscard:
		return p.Name == "all" // refused in a transaction
	case KindSet:
		return p.Set.IsLocal && p.Binds == "" && p.Set.Name != "role" && p.Set.Name != "session_authorization"
	case KindMulti:
		for _, part := range p.Parts {
			if !part.replicaToo() {
				return false
			}
		}
		return true
	}
	return p.ReplicaToo
}
