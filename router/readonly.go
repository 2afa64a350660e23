package router

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
