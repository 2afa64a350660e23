package catalog

import "strings"

type role struct {
	oid     uint32
	name    string
	super   bool
	inherit bool
	bypass  bool // BYPASSRLS
	// memberOf are the roles that it was granted, with whether it has their privileges without SET ROLE.
	memberOf []membership
}

type membership struct {
	role    uint32
	inherit bool
}

// roleSetting is one setting of a row of pg_db_role_setting, for this database or all, for one role or all.
type roleSetting struct {
	inDatabase bool
	role       uint32 // 0: all
	name       string // lower case
	value      string
}

// RoleExists tells whether there is a role of that name.
func (s *Snapshot) RoleExists(name string) bool { return s.roles[name] != nil }

// Superuser tells whether the role is a superuser.
func (s *Snapshot) Superuser(name string) bool { r := s.roles[name]; return r != nil && r.super }

// DefaultSetting returns what ALTER ROLE … SET and ALTER DATABASE … SET give a session of this database that logs in
// as sessionUser, with the precedence of the server: role in database, role, database, all. ok is false where none of
// them names the setting.
func (s *Snapshot) DefaultSetting(sessionUser, name string) (value string, ok bool) {
	var oid uint32
	if r := s.roles[sessionUser]; r != nil {
		oid = r.oid
	}
	name = strings.ToLower(name)
	best := -1
	for _, set := range s.settings {
		if set.name != name || set.role != 0 && set.role != oid {
			continue
		}
		rank := 0
		if set.inDatabase {
			rank++
		}
		if set.role != 0 {
			rank += 2
		}
		if rank > best {
			best, value, ok = rank, set.value, true
		}
	}
	return value, ok
}

// OIDs of predefined roles and privileges that come by other ways than grants (pg_authid.dat).
const (
	rolePgDatabaseOwner = 6171
	rolePgReadAllData   = 6181
	rolePgWriteAllData  = 6182
)

// BypassesRowSecurity tells whether no policy holds for the role (has_bypassrls_privilege).
func (s *Snapshot) BypassesRowSecurity(name string) bool {
	r := s.roles[name]
	return r != nil && (r.super || r.bypass)
}

// RoleName returns the name of the role with an OID, or nothing.
func (s *Snapshot) RoleName(oid uint32) string {
	if r := s.roleByOID[oid]; r != nil {
		return r.name
	}
	return ""
}

// HasPrivilegesOf is has_privs_of_role(): a superuser has those of every role. An OID of 0 stands for PUBLIC.
func (s *Snapshot) HasPrivilegesOf(name string, role uint32) bool {
	r := s.roles[name]
	return role == 0 || r != nil && (r.super || s.privileges(r)[role])
}

// privileges are all roles whose privileges r has, itself included (roles_is_member_of with ROLERECURSE_PRIVS).
func (s *Snapshot) privileges(r *role) map[uint32]bool {
	has := map[uint32]bool{}
	queue := []uint32{r.oid}
	for len(queue) > 0 {
		oid := queue[0]
		queue = queue[1:]
		if has[oid] {
			continue
		}
		has[oid] = true
		if oid == s.databaseOwner {
			queue = append(queue, rolePgDatabaseOwner)
		}
		if m := s.roleByOID[oid]; m != nil {
			for _, g := range m.memberOf {
				if g.inherit {
					queue = append(queue, g.role)
				}
			}
		}
	}
	return has
}

// mayUse is has_schema_privilege(role, schema, 'USAGE').
func (s *Snapshot) mayUse(r *role, schema *Schema) bool {
	if r.super {
		return true
	}
	for _, grantee := range schema.usage {
		if grantee == 0 {
			return true
		}
	}
	has := s.privileges(r)
	if has[rolePgReadAllData] || has[rolePgWriteAllData] {
		return true
	}
	for _, grantee := range schema.usage {
		if has[grantee] {
			return true
		}
	}
	return false
}
