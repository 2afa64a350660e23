package catalog

// Snapshot is a picture of one database's catalog at one time. It is immutable, and safe for concurrent use.
type Snapshot struct {
	// Generation is a number that no two snapshots of one process share; a newer one has a greater number.
	Generation uint64
	// Database is the name of the database.
	Database string
	// ServerVersion is server_version_num.
	ServerVersion int
	// Encoding is the server's encoding, as in pg_database.
	Encoding string
}

// EffectiveSearchPath returns the schemas in which names are looked up, in order, for a session that logged in as
// sessionUser and whose effective role is role. Schemas that don't exist or that the role may not use are left out, `$user` is replaced, pg_catalog comes first unless it is
// listed elsewhere. If set, the session has given setting (the text of the search_path setting, which may be empty); otherwise the
// defaults of role, database and server hold.
func (s *Snapshot) EffectiveSearchPath(sessionUser, role, setting string, set bool) []string {
	return nil
}
